"""Augmentations of reference images."""

from .blurring import blurred
from .cropping import cropped
from .cutting import cut_out
from .erasing import erased
from .noise import degraded, noise_around, strength_at
from .pasting import pasted
from .relighting import relit
from .warping import warped

__all__ = [
    "blurred",
    "cropped",
    "cut_out",
    "degraded",
    "erased",
    "noise_around",
    "pasted",
    "relit",
    "strength_at",
    "warped",
]
