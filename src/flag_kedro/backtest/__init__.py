"""Judging without learning: replay, baselines, metrics and plots."""
