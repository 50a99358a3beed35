"""Choices among several sampled pictures."""

from .nearness import nearest

__all__ = [
    "nearest",
]
