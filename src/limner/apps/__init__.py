"""Interfaces to the workflows."""
