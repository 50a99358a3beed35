"""Noise in place of a subject's surroundings."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator

    from limner.parts.sources.pairs import Change, Shots


def noise_around(chance: float = 0.5) -> Change:
    """Replace some pictures' surroundings by noise, so that they do not show where the subject was.

    The noise is uniform in [0, 1] (Sec. 3.1 of arXiv:2312.04461). Pictures without masks stay as they are.

    chance: probability for each picture, from 0 to 1
    """
    return functools.partial(_noise_around, chance)


def _noise_around(chance: float, shots: Shots, generator: Generator) -> Shots:
    import torch

    pixels, masks = shots.pixels, shots.masks
    if masks is None:
        return shots
    chosen = (torch.rand(len(pixels), generator=generator) < chance).view(-1, 1, 1, 1).to(pixels.device)
    noise = torch.rand(pixels.shape, generator=generator).to(pixels)
    outside = (1 - masks) * chosen.to(masks)
    return shots._replace(pixels=torch.lerp(pixels, noise, outside.to(pixels)))
