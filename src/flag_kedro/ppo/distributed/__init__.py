"""One training in several processes: starting and ending them, and what they do together."""
