"""Bases: generators that limner personalises; every family implements the protocols of `core/base.py`."""

from limner.core.base import Base

__all__ = ["Base"]
