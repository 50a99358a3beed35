"""Pictures that lost detail."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.parts.sources.pairs import Change


def blurred(chance: float = 0.5, *, most: int = 8) -> Change:
    """With a chance, a picture is made smaller by 2 to `most` times and drawn to its size again.

    chance: of each picture
    most: largest factor, a power of 2
    """
    return functools.partial(_blurred, chance, most)


def _blurred(
    chance: float, most: int, pixels: Tensor, masks: Tensor | None, generator: Generator
) -> tuple[Tensor, Tensor | None]:
    import torch
    import torch.nn.functional as F

    draw = torch.rand(len(pixels), 2, generator=generator)
    levels = most.bit_length() - 1
    found = pixels.clone()
    for row, (chosen, size) in enumerate(draw.tolist()):
        if chosen < chance:
            small = F.avg_pool2d(pixels[row : row + 1], 2 ** (1 + int(size * levels)))
            found[row] = F.interpolate(small, pixels.shape[-2:], mode="bilinear")[0]
    return found, masks
