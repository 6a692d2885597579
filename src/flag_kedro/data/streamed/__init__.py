"""Prices and news that are too many for memory: read in units, kept by bucket of symbols and year."""
