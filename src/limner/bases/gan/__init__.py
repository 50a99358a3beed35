"""Generators of adversarial networks, whose codes are what is personalised."""
