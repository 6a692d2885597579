"""Judging without learning: replay, baselines, metrics, plots and report."""
