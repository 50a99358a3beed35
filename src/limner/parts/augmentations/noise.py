"""Noise in place of a subject's surroundings."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, Tensor

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


def degraded(pixels: Tensor, masks: Tensor, generator: Generator, *, amount: float) -> Tensor:
    """Pictures with Gaussian noise added outside of their masks, clamped to [0, 1] (Sec. 3.2 of arXiv:2410.13370).

    pixels: [n, 3, H, W] in [0, 1]
    masks: [n, 1, H, W] of 0 and 1, 1 where pictures stay as they are
    generator: of the noise
    amount: standard deviation of the noise for pixels from -1 to 1; for those from 0 to 1 it is half of it
    """
    import torch

    noise = torch.randn(pixels.shape, generator=generator).to(pixels)
    return (pixels + 0.5 * amount * noise * (1 - masks)).clamp(0, 1)


def strength_at(step: int, total: int, *, strength: float, power: float) -> float:
    """strength * (1 - (step / total) ** power): the noise of an update (Sec. 3.2 of arXiv:2410.13370).

    step: number of the update, from 1 to `total`; the last update has no noise
    total: number of updates
    strength: noise at the beginning
    power: exponent of the course, above 0
    """
    return float(strength * (1 - (step / total) ** power))
