"""Methods for several subjects in one picture."""
