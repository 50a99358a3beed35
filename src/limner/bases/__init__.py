"""Bases: the generators that can be personalised, each family behind the one seam of `protocol.py`."""

from limner.core.base import Base

__all__ = ["Base"]
