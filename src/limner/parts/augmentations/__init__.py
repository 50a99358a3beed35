"""One example to another."""

from .erasing import erased

__all__ = [
    "erased",
]
