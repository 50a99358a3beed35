"""Bases: the generators that can be personalised, each family behind the one seam of `protocol.py`."""

from .protocol import Base

__all__ = ["Base"]
