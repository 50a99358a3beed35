"""The subject's pictures, with all of them as references in every row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from limner.core.recipe import Source
from limner.core.types import Batch, References

from .photos import photos

if TYPE_CHECKING:
    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import Streams


def all_seen(subject: Subject, *, captions: Sequence[str] = ("a photo of {}",), batch: int = 4) -> Source:
    """`photos`, every row with all of the subject's pictures as references, as while sampling.

    subject: the subject
    captions: templates with {} for the handle
    batch: pictures in an update
    """
    source = photos(subject, captions=captions, batch=batch)

    def prepare(base: Base) -> Callable[[int, Streams], Batch]:
        from limner.parts.encoders.looks import subject_references

        draw, one = source.prepare(base), subject_references(base, subject)

        def shown(step: int, at: Streams) -> Batch:
            drawn = draw(step, at)
            count = len(drawn.latents)
            pixels = one.pixels.expand(count, *one.pixels.shape[1:])
            return replace(drawn, references=References(pixels, captions=one.captions * count, nouns=one.nouns * count))

        return shown

    return Source(f"{source.name}, all seen", source.learns_from, prepare)
