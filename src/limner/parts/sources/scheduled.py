"""Sources around other sources: batches whose weight follows a course, and batches with tensors made at the start."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from limner.core.recipe import Gather, Source
from limner.core.types import Batch
from limner.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Adapted
    from limner.core.base import Base
    from limner.core.types import Streams

Memory: TypeAlias = "Callable[[Adapted, Streams], Mapping[str, Tensor]]"
"""Adapted base at the start of a stage, random streams -> tensors by name."""


def scheduled(source: Source, course: Callable[[int], float]) -> Source:
    """The same batches, with a weight for all rows that depends on the update.

    `scaled_denoising` multiplies its loss by the weight.

    source: gives the batches
    course: number of the update in its stage, from 0 -> weight
    """

    def prepare(base: Base) -> Callable[[int, Streams], Batch]:
        draw = source.prepare(base)

        def weighted(step: int, at: Streams) -> Batch:
            batch = draw(step, at)
            return replace(batch, weight=batch.latents.new_full((len(batch.latents),), course(step)))

        return weighted

    return replace(source, prepare=prepare)


def with_memory(source: Source, make: Memory) -> Source:
    """The same batches, each with tensors (`Batch.gathered`) that are made once, at the start of the stage.

    They are part of a run's checkpoints: a resumed stage does not make them again.

    source: gives the batches
    make: makes the tensors with the adapters as trained so far
    """

    def draw(base: Base, gathered: Mapping[str, Tensor]) -> Callable[[int, Streams], Batch]:
        inner, placed = source.prepare(base), {name: tensor.to(base.device) for name, tensor in gathered.items()}
        return lambda step, at: replace(inner(step, at), gathered=placed)

    gather = Gather(lambda adapted, at, earlier: make(adapted, at), draw)
    return replace(source, prepare=lambda base: _not_gathered, gather=gather)


def _not_gathered(step: int, at: Streams) -> Batch:
    raise InputError("this source has batches only in its stage's updates, once its tensors are made")
