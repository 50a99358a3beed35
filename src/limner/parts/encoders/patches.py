"""A self-supervised encoder's tokens (DINO, arXiv:2104.14294)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base


def patch_tokens(base: Base, pixels: Tensor) -> Tensor:
    """[B, 1 + L, D]: the class token and the patch tokens of each picture.

    base: the base, with a self-supervised encoder
    pixels: [B, 3, H, W] in [0, 1]
    """
    import torch

    with torch.no_grad():
        return base.patch_states(pixels)
