"""The paper's result table: its rows rebuilt, audited and shown on a page."""
