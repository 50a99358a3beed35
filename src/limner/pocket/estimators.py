"""The estimators of the pocket world: networks that compute a condition from a picture, trained on the renderer's
truth."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from . import judges
from .facts import ESTIMATED, FILES

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = judges.WEIGHTS / FILES["depth"]


@functools.cache
def network() -> Any:
    """The frozen network of depth, on the CPU."""
    from safetensors.torch import load_file

    from .networks import Depths

    estimator = Depths()
    estimator.load_state_dict({name: value.float() for name, value in load_file(WEIGHTS).items()})
    return estimator.requires_grad_(False).eval()


def depth(pixels: Tensor) -> Tensor:
    """[B, 1, H, W] in [0, 1]: inverse depth, 1 at each picture's nearest point and 0 at the sky, as in training
    (`pocket.corpus`).

    pixels: [B, 3, H, W] in [0, 1], H and W multiples of 16
    """
    import torch

    with torch.no_grad():
        inverse = torch.cat([network()(part.float().cpu()) for part in pixels.split(128)]).sigmoid()
    return inverse / inverse.amax((2, 3), keepdim=True)


def segmentation(pixels: Tensor) -> Tensor:
    """[B, 1, H, W] of 0 and 1: where toys and people are.

    pixels: [B, 3, H, W] in [0, 1]
    """
    return (judges.masks(pixels.float().cpu())[:, None] > 0.5).float()


ESTIMATORS = {
    name: estimator for name, estimator in (("depth", depth), ("segmentation", segmentation)) if name in ESTIMATED
}
"""Condition -> its estimator, of those whose weights this edition ships."""
