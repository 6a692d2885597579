"""Printers of what pipelines made, one file a kind; which is used when, is in `hooks.print_summary`."""
