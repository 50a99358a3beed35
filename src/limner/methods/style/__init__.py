"""Methods for styles."""
