"""Pictures to see, cut to the subject."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from limner.core.landmarks import moved

if TYPE_CHECKING:
    from torch import Generator

    from limner.parts.sources.pairs import Change, Shots


def cut_out(margin: float = 0.25) -> Change:
    """The square around a picture's mask, resized to the whole picture; edges are extended. Pictures without masks, and
    those whose mask is empty, stay whole.

    margin: to each side, as a share of the subject's longer side
    """
    return functools.partial(_cut_out, margin)


def _cut_out(margin: float, shots: Shots, generator: Generator) -> Shots:
    import torch
    import torch.nn.functional as F

    from limner.parts.encoders.looks import window

    pixels, masks, marks, _ = shots
    if masks is None:
        return shots
    how = torch.stack([window(mask[0] > 0.5, margin) for mask in masks]).to(pixels)
    grid = F.affine_grid(how, list(pixels.shape), align_corners=False)
    near = F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    where = F.grid_sample(masks.to(pixels), grid, align_corners=False)
    return shots._replace(pixels=near, masks=where, landmarks=None if marks is None else moved(marks, how))
