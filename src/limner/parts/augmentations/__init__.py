"""One example to another."""

from .erasing import erased
from .noise import noise_around

__all__ = [
    "erased",
    "noise_around",
]
