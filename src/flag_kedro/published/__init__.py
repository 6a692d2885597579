"""The paper's result table: its rows rebuilt, audited and told on a page."""
