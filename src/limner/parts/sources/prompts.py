"""Prompts without pictures, for objectives that sample the pictures they score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from limner.core.recipe import Source
from limner.core.types import Batch

if TYPE_CHECKING:
    from limner.core.base import Base
    from limner.core.types import Streams


def prompts(texts: Sequence[str], *, batch: int = 8) -> Source:
    """In every update one of the texts, `batch` times; the latents are empty.

    texts: the prompts
    batch: rows in an update
    """

    def prepare(base: Base) -> Callable[[int, Streams], Batch]:
        import torch

        empty = torch.zeros(batch, *base.latent_shape, device=base.device, dtype=base.dtype)

        def draw(step: int, at: Streams) -> Batch:
            text = texts[int(torch.randint(len(texts), (), generator=at("order")))]
            return Batch(empty, (text,) * batch)

        return draw

    return Source("prompts", "prompts", prepare)
