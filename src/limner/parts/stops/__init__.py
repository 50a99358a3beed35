"""Criteria that end a stage."""

from .variance import frozen_batch, frozen_loss, variance_stop

__all__ = [
    "frozen_batch",
    "frozen_loss",
    "variance_stop",
]
