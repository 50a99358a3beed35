"""Methods for video."""
