"""CLIP's picture tower as an encoder of references."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from limner.bases.protocol import Base


def clip_global(base: Base, pixels: Tensor) -> Tensor:
    """[B, 3, H, W] in [0, 1] -> [B, D]: one global embedding a picture, projected as for comparison with text."""
    import torch

    with torch.no_grad():
        return base.picture_features(pixels)


def clip_places(base: Base, pixels: Tensor) -> Tensor:
    """[B, 3, H, W] in [0, 1] -> [B, L, D]: what CLIP sees at each place, at three depths."""
    import torch

    with torch.no_grad():
        return base.picture_states(pixels)


def clip_last(base: Base, pixels: Tensor) -> Tensor:
    """[B, 3, H, W] in [0, 1] -> [B, L, D]: what CLIP sees at each place at its full depth, before its last norm."""
    return clip_places(base, pixels).chunk(3, 1)[2]
