"""Bases that predict noise, velocity or flow."""
