"""What was knowable at each decision: aligned news, indicators, digest, market states."""
