"""The studio in a real browser: `make browser`."""
