"""How features of pictures enter the network."""
