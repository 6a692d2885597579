"""Prices and news: sources, validation, exchange calendars, and the windows that divide sessions."""
