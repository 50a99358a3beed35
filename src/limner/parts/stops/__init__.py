"""When a stage has learned enough."""

from .variance import frozen_batch, frozen_loss, variance_stop

__all__ = [
    "frozen_batch",
    "frozen_loss",
    "variance_stop",
]
