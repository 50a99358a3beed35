"""Pairs of pictures of one prompt, of which the first is preferred."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from limner.core.pixels import to_tensor
from limner.core.recipe import Source
from limner.core.types import Batch
from limner.errors import InputError

from .photos import check_latents

if TYPE_CHECKING:
    from PIL import Image

    from limner.core.base import Base
    from limner.core.types import Streams


def preferred(
    pairs: Sequence[tuple[Image.Image, Image.Image, str]], *, batch: int = 2, name: str = "preferred pairs"
) -> Source:
    """Batches of pairs: all preferred pictures, then the others in the same order, with equal times in a pair
    (Eq. 14 of arXiv:2311.12908). Pairs are drawn with replacement. Each picture has noise of its own, as in the
    equation; the authors' code gives both pictures of a pair the same noise.

    pairs: a preferred picture, another, and the prompt of both, with handles
    batch: pairs in an update
    name: name of the source
    """
    if not pairs:
        raise InputError("there are no pairs to learn a preference from: give at least one")

    def prepare(base: Base) -> Callable[[int, Streams], Batch]:
        import torch

        with torch.no_grad():
            pictures = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
            pixels = [to_tensor(side, base.picture_size).to(base.device, base.dtype) for side in pictures]
            sides = [base.encode(side)[0] for side in pixels]
        for latents in sides:
            check_latents(latents, base)

        def draw(step: int, at: Streams) -> Batch:
            rows = torch.randint(len(pairs), (batch,), generator=at("pairs")).tolist()
            share = torch.rand(batch, generator=at("pair times")).repeat(2)
            latents = torch.cat([latents[rows] for latents in sides])
            prompts = tuple(pairs[row][2] for row in rows) * 2
            return Batch(latents, prompts, times=torch.stack([share, share], 1))

        return draw

    return Source(name, "prompts", prepare)
