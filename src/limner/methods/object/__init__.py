"""Methods for objects and living subjects."""
