"""Augmentations of reference images."""

from .blurring import blurred
from .erasing import erased
from .noise import noise_around

__all__ = [
    "blurred",
    "erased",
    "noise_around",
]
