"""Batches of several sources as one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from limner.core.recipe import Source
from limner.core.types import Batch
from limner.errors import InputError

if TYPE_CHECKING:
    from limner.core.base import Base
    from limner.core.types import Streams


def joined(*sources: Source, name: str = "several subjects") -> Source:
    """The batches of several sources, one after the other in the rows of one batch, for objectives that compare them.

    Each source draws from random streams of its own. Raises `InputError` where only some of them give masks.

    sources: sources that learn from the same kind of data; latents, prompts and masks are joined
    name: name of the joined source
    """

    def prepare(base: Base) -> Callable[[int, Streams], Batch]:
        draws = [source.prepare(base) for source in sources]

        def draw(step: int, at: Streams) -> Batch:
            import torch

            batches = [one(step, _apart(at, k)) for k, one in enumerate(draws)]
            masks = [batch.mask for batch in batches if batch.mask is not None]
            if masks and len(masks) < len(batches):
                raise InputError(f"{name}: some of these sources give masks and others none; give all of them masks")
            return Batch(
                torch.cat([batch.latents for batch in batches]),
                tuple(prompt for batch in batches for prompt in batch.prompts),
                mask=torch.cat(masks) if masks else None,
            )

        return draw

    return Source(name, sources[0].learns_from, prepare)


def _apart(at: Streams, number: int) -> Streams:
    """The random streams of one of several sources."""
    return lambda purpose: at(f"{purpose} of {number}")
