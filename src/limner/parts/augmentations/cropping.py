"""Random parts of pictures."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from limner.core.landmarks import moved

if TYPE_CHECKING:
    from torch import Generator

    from limner.parts.sources.pairs import Change, Shots


def cropped(least: float = 0.5, *, each: int = 1, whole: int = 0) -> Change:
    """A square of each picture at random, resized to the whole picture.

    least: smallest side of the square, as a share of the picture's
    each: references of each row, where a row's first ones stay whole
    whole: number of a row's first references that stay whole
    """
    return functools.partial(_cropped, least, each, whole)


def _cropped(least: float, each: int, whole: int, shots: Shots, generator: Generator) -> Shots:
    import torch
    import torch.nn.functional as F

    pixels, masks, marks, _ = shots
    draw = torch.rand(len(pixels), 3, generator=generator)
    stay = torch.arange(len(pixels)) % each < whole
    side = torch.where(stay, 1.0, least + (1 - least) * draw[:, 0])
    x, y = ((1 - side) * (2 * draw[:, k] - 1) for k in (1, 2))
    zero = torch.zeros_like(side)
    how = torch.stack([torch.stack([side, zero, x], 1), torch.stack([zero, side, y], 1)], 1).to(pixels)
    grid = F.affine_grid(how, list(pixels.shape), align_corners=False)
    near = F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    where = None if masks is None else F.grid_sample(masks.to(pixels), grid, align_corners=False)
    return shots._replace(pixels=near, masks=where, landmarks=None if marks is None else moved(marks, how))
