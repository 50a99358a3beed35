"""CLIP's picture tower as an encoder of references."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True)
class clip_depths:
    """[B, 3, H, W] in [0, 1] -> [B, L, depths, D]: CLIP's class token and places, the states of several depths beside each other.
    A depth is a part of the tower's."""

    depths: tuple[float, ...]

    def __call__(self, base: Base, pixels: Tensor) -> Tensor:
        import torch

        with torch.no_grad():
            states = base.picture_states(pixels, self.depths)
        return states.unflatten(1, (len(self.depths), -1)).transpose(1, 2)
