"""Statistics shared by natural pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.core.recipe import Objective

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Step
    from limner.core.recipe import Source

LEVELS = 3


def kurtosis_gap(source: Source) -> Objective:
    """Greatest minus least kurtosis of the bands of the decoded estimate of x_0 (DIFFNAT, Eq. 5 of arXiv:2311.09753).

    Bands are the details of a Haar transform of three levels in every colour: 27 filters.

    source: batches of pictures
    """

    def value(step: Step) -> Tensor:
        return gap(step.adapted.base.decode(step.x0).float())

    return Objective(f"kurtosis gap({source.name})", source, value)


def gap(pixels: Tensor) -> Tensor:
    """The mean over pictures of the greatest minus the least kurtosis.

    pixels: [B, 3, H, W]
    """
    import torch

    kurtoses = torch.cat([kurtosis(band) for band in haar_details(pixels)], 1)
    return (kurtoses.amax(1) - kurtoses.amin(1)).mean()


def haar_details(pixels: Tensor, levels: int = LEVELS) -> list[Tensor]:
    """The horizontal, vertical and diagonal details of every level: each [B, C, h, w].

    pixels: [B, C, H, W]
    levels: number of levels
    """
    details = []
    for _ in range(levels):
        a, b, c, d = (pixels[..., y::2, x::2] for y in (0, 1) for x in (0, 1))
        details += [(a - b + c - d) / 2, (a + b - c - d) / 2, (a - b - c + d) / 2]
        pixels = (a + b + c + d) / 2
    return details


def kurtosis(x: Tensor) -> Tensor:
    """[B, C]: E(x - mean)^4 / variance^2.

    x: [B, C, h, w]
    """
    centred = x.flatten(2) - x.flatten(2).mean(2, keepdim=True)
    variance = centred.square().mean(2)
    return centred.pow(4).mean(2) / variance.square().clamp_min(1e-12)
