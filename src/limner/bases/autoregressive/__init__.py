"""Bases that predict tokens."""
