"""Pictures with random patches hidden, which do not count in the loss either."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from limner.core.recipe import Source
from limner.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base
    from limner.core.types import Batch, Streams


def with_hidden_patches(source: Source, *, share: float = 0.25, patches: int = 4) -> Source:
    """Another source's batches, in which random patches of every row are hidden from input and loss.

    This is the Random Mask Reconstruction of arXiv:2312.04364. Latents of a hidden patch are zero before they are
    noised, and the batch's mask is 0 there. Raises `InputError` for a share outside of 0 to 1, or patches below 1.

    source: batches of pictures
    share: probability that a patch is hidden, from 0 to below 1
    patches: patches along a side of the picture, 1 or more
    """
    if not 0 <= share < 1 or patches < 1:
        raise InputError(
            f"random masks need a share from 0 to below 1 and at least one patch along a side, not {share} and {patches}"
        )

    def prepare(base: Base) -> Callable[[int, Streams], Batch]:
        import torch
        import torch.nn.functional as F

        drawing = source.prepare(base)

        def draw(step: int, at: Streams) -> Batch:
            batch = drawing(step, at)
            count, size = len(batch.latents), batch.latents.shape[-2:]
            seen = (torch.rand(count, 1, patches, patches, generator=at("patches")) >= share).float()
            mask: Tensor = F.interpolate(seen, size, mode="nearest").to(batch.latents)  # [B, 1, h, w]
            counts = mask if batch.mask is None else mask * batch.mask
            return replace(batch, latents=batch.latents * mask, mask=counts)

        return draw

    return replace(source, name=f"{source.name}, patches hidden", prepare=prepare)
