"""Methods against each other on held-out subjects."""
