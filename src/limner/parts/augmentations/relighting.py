"""Pictures in another light."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator

    from limner.parts.sources.pairs import Change, Shots


def relit(chance: float = 0.5, *, most: float = 0.2) -> Change:
    """Change the brightness and the contrast of some pictures at random.

    chance: probability for each picture, from 0 to 1
    most: largest change of either, as a share
    """
    return functools.partial(_relit, chance, most)


def _relit(chance: float, most: float, shots: Shots, generator: Generator) -> Shots:
    import torch

    draw = torch.rand(len(shots.pixels), 3, generator=generator).to(shots.pixels)
    brighter, harder = (most * (2 * draw[:, 1:] - 1)).view(-1, 2, 1, 1, 1).unbind(1)
    changed = ((shots.pixels * (1 + harder)) + brighter).clamp(0, 1)
    return shots._replace(pixels=torch.where((draw[:, 0] < chance).view(-1, 1, 1, 1), changed, shots.pixels))
