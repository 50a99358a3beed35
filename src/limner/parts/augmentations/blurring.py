"""Pictures with less detail."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator

    from limner.parts.sources.pairs import Change, Shots


def blurred(chance: float = 0.5, *, most: int = 8) -> Change:
    """Reduce some pictures by a random factor and enlarge them to their size again.

    chance: probability for each picture, from 0 to 1
    most: largest factor, a power of 2
    """
    return functools.partial(_blurred, chance, most)


def _blurred(chance: float, most: int, shots: Shots, generator: Generator) -> Shots:
    import torch
    import torch.nn.functional as F

    pixels = shots.pixels
    draw = torch.rand(len(pixels), 2, generator=generator)
    levels = most.bit_length() - 1
    blurred_pixels = pixels.clone()
    for row, (chosen, size) in enumerate(draw.tolist()):
        if chosen < chance:
            small = F.avg_pool2d(pixels[row : row + 1], 2 ** (1 + int(size * levels)))
            blurred_pixels[row] = F.interpolate(small, pixels.shape[-2:], mode="bilinear")[0]
    return shots._replace(pixels=blurred_pixels)
