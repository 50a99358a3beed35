"""Which of several painted pictures is kept."""

from .nearness import nearest

__all__ = [
    "nearest",
]
