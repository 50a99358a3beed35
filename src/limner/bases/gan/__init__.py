"""Generators of adversarial networks, which are personalised through their latent codes."""
