"""Numbers for pictures."""
