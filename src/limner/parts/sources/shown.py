"""Sources whose rows all see the subject's pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from limner.recipe import Batch, References, Source

if TYPE_CHECKING:
    from limner.bases.protocol import Base
    from limner.recipe import Streams
    from limner.subject import Subject


def seeing_all(source: Source, subject: Subject) -> Source:
    """The same batches, every row with all of the subject's pictures as references, as it sees them while painting."""

    def prepare(base: Base) -> Callable[[int, Streams], Batch]:
        from limner.parts.encoders.looks import subject_references

        draw, one = source.prepare(base), subject_references(base, subject)

        def shown(step: int, at: Streams) -> Batch:
            batch = draw(step, at)
            count = len(batch.latents)
            pixels = one.pixels.expand(count, *one.pixels.shape[1:])
            return replace(batch, references=References(pixels, captions=one.captions * count, nouns=one.nouns * count))

        return shown

    return Source(f"{source.name}, all seen", source.learns_from, prepare)
