"""A request in, events out: what the command line and other interfaces call."""
