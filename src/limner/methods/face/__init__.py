"""Methods for faces."""
