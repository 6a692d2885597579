"""Evaluation without learning: replay, baselines, metrics, tests, plots and report."""
