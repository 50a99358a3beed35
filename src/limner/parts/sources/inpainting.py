"""Pictures to be completed: random masks for bases that read a picture with a hole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from limner.core.recipe import Source

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.corpus import Corpus
    from limner.core.types import Batch, Streams

LEAST, MOST = 0.3, 0.8
"""Shortest and longest side of a hole, as a share of the picture's side."""


def with_holes(source: Source) -> Source:
    """Another source's batches with the conditions "source", the picture to paint, and "mask", a rectangle at random
    that is to be painted, on a base that reads these (an inpainting model); on any other, the batches as they are.

    source: batches; the picture is decoded from their latents
    """

    def prepare(base: Base) -> Callable[[int, Streams], Batch]:
        drawing = source.prepare(base)
        if not {"source", "mask"} <= set(base.conditions):
            return drawing

        def draw(step: int, at: Streams) -> Batch:
            import torch

            batch = drawing(step, at)
            with torch.no_grad():
                pixels = base.decode(batch.latents)
            mask = random_holes(len(pixels), pixels.shape[-1], at("holes")).to(pixels)
            return replace(batch, conditions={**batch.conditions, "source": pixels, "mask": mask})

        return draw

    def over(corpus: Corpus) -> Source:
        assert source.over is not None
        return with_holes(source.over(corpus))

    return replace(source, prepare=prepare, over=over if source.over else None)


def random_holes(count: int, size: int, generator: Generator) -> Tensor:
    """[count, 1, size, size] of 0 and 1: in each a rectangle of 1.

    count: masks
    size: pixels of a side
    generator: of the draws
    """
    import torch

    sides = LEAST + (MOST - LEAST) * torch.rand(count, 2, generator=generator)
    corner = torch.rand(count, 2, generator=generator) * (1 - sides)
    place = (torch.arange(size) + 0.5) / size
    across, down = (
        (place >= low[:, None]) & (place < (low + side)[:, None]) for low, side in zip(corner.T, sides.T, strict=True)
    )
    return (down[:, :, None] & across[:, None, :])[:, None].float()
