"""Random boxes of pictures erased."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator

    from limner.parts.sources.pairs import Change, Shots


def erased(chance: float = 0.4, *, least: float = 0.02, most: float = 0.33) -> Change:
    """Random erasing (arXiv:1708.04896): a box of a picture becomes a plain colour.

    The box's width is from a third of its height to three times its height.

    chance: probability for each picture, from 0 to 1
    least: least area of the box, as a share of the picture
    most: largest area of the box, as a share of the picture
    """
    return functools.partial(_erased, chance, least, most)


def _erased(chance: float, least: float, most: float, shots: Shots, generator: Generator) -> Shots:
    import torch

    from .plain import PLAIN

    pixels, masks = shots.pixels, shots.masks
    draw = torch.rand(len(pixels), 5, generator=generator)
    area, shape = torch.lerp(torch.tensor(least), torch.tensor(most), draw[:, 1]), 3 ** (2 * draw[:, 2] - 1)
    height, width = ((area * shape).sqrt().clamp(max=1), (area / shape).sqrt().clamp(max=1))
    top, left = (1 - height) * draw[:, 3], (1 - width) * draw[:, 4]
    rows, columns = ((torch.arange(size) + 0.5) / size for size in pixels.shape[2:])
    inside = ((rows >= top[:, None]) & (rows < (top + height)[:, None]))[:, :, None]
    inside = inside & ((columns >= left[:, None]) & (columns < (left + width)[:, None]))[:, None]
    hole = (inside & (draw[:, 0] < chance)[:, None, None])[:, None].to(pixels.device)
    where = None if masks is None else masks.masked_fill(hole, 0.0)
    return shots._replace(pixels=pixels.masked_fill(hole, PLAIN), masks=where)
