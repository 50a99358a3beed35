"""Prompts that compose a person with a style: style photos, and batches with the person as reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from limner.core.recipe import Source
from limner.core.subject import Subject
from limner.core.types import References
from limner.parts.encoders.masks import masks_around_faces

from .class_pictures import painted
from .photos import photos

if TYPE_CHECKING:
    from limner.core.base import Base
    from limner.core.types import Batch, Streams


def called(subject: Subject, phrase: str) -> Subject:
    """The same subject, with a phrase as its handle, also in its pictures' own captions.

    subject: the subject
    phrase: words for the subject
    """
    pictures = tuple(replace(p, caption=p.caption.replace(subject.handle, phrase)) for p in subject.pictures)
    return replace(subject, handle=phrase, pictures=pictures)


def style_photos(
    subject: Subject,
    phrase: str,
    captions: Sequence[str],
    *,
    prompt: str,
    count: int,
    batch: int = 4,
    inside: float = 0.0,
) -> Source:
    """`photos` of the pictures without the subject, which show other people in a style; their faces do not count.

    A subject without such pictures gets some that the base samples, which are cached.

    subject: the subject
    phrase: words for what the pictures show, in captions; sources of one recipe with one phrase draw alike
    captions: templates of captions, with {} for the phrase
    prompt: prompt of the sampled pictures
    count: number of sampled pictures
    batch: pictures in an update
    inside: weight of the loss inside of faces, from 0 to 1
    """
    name = f"style photos of {phrase}"

    def prepare(base: Base) -> Callable[[int, Streams], Batch]:
        shown = called(subject.contrast if subject.without else _sampled(base, subject, prompt, count), phrase)
        about: dict[str, Any] = {"masks": masks_around_faces, "outside": inside}
        return photos(shown, captions=captions, batch=batch, name=name, **about).prepare(base)

    return Source(name, "subject" if subject.without else "class", prepare)


def _sampled(base: Base, subject: Subject, prompt: str, count: int) -> Subject:
    import torch

    latents = painted(base, (prompt,), count)
    with torch.no_grad():
        pixels = torch.cat([base.decode(part.to(base.device, base.dtype)).float().cpu() for part in latents.split(8)])
    return Subject.of(pixels.clamp(0, 1), noun=subject.noun, handle=subject.handle)


def with_references_of(source: Source, subject: Subject) -> Source:
    """Another source's batches, each row with one of the subject's pictures at random as its reference.

    source: batches of pictures
    subject: the subject with its pictures
    """

    def prepare(base: Base) -> Callable[[int, Streams], Batch]:
        import torch

        drawing, pixels = source.prepare(base), subject.tensor(base.picture_size)

        def draw(step: int, at: Streams) -> Batch:
            batch = drawing(step, at)
            rows = torch.randint(len(pixels), (len(batch.latents),), generator=at("references"))
            shown = References(pixels[rows][:, None].to(base.device), nouns=(subject.noun,) * len(rows))
            return replace(batch, references=shown)

        return draw

    return replace(source, name=f"{source.name} with references", prepare=prepare)
