"""What the world said, checked at the door: sources, calendar, windows and the two tables."""
