"""One example to another."""
