"""Pictures bent out of shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, Tensor

GRID = 4
"""Places of a side that are moved at random; all between them follow smoothly."""


def warped(pixels: Tensor, generator: Generator, *, strength: float = 0.2) -> Tensor:
    """The same pictures with every part moved at random, so that faces and bodies have a wrong structure.

    pixels: [n, 3, H, W] in [0, 1]
    generator: of the moves
    strength: standard deviation of a move, as a share of the picture's side
    """
    import torch
    import torch.nn.functional as F

    coarse = 2 * strength * torch.randn(len(pixels), 2, GRID, GRID, generator=generator)
    moves = F.interpolate(coarse, pixels.shape[2:], mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    straight = F.affine_grid(torch.eye(2, 3).expand(len(pixels), 2, 3), list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, (straight + moves).to(pixels), padding_mode="border", align_corners=False)
