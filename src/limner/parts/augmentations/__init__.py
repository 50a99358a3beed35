"""Augmentations of reference images."""

from .blurring import blurred
from .cutting import cut_out
from .erasing import erased
from .noise import noise_around
from .pasting import pasted
from .relighting import relit
from .warping import warped

__all__ = [
    "blurred",
    "cut_out",
    "erased",
    "noise_around",
    "pasted",
    "relit",
    "warped",
]
