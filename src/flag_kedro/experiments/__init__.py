"""Comparisons that need more than the project itself: agents of other libraries."""
