"""Changes of the network, undone on leaving."""
