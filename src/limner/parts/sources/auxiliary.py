"""Auxiliary pictures under a generic prompt: what else a style is to look like (StyleBoost, ICTC 2023)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from limner.core.recipe import Source
from limner.errors import InputError

from .class_pictures import class_pictures
from .photos import photos

if TYPE_CHECKING:
    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import Batch, Streams


def auxiliary_pictures(
    subject: Subject,
    *,
    captions: Sequence[str] = ("{}",),
    count: int = 64,
    batch: int = 4,
    name: str = "auxiliary pictures",
) -> Source:
    """Batches of the subject's auxiliary pictures, captioned by its class noun alone.

    They are pictures of the user's that the subject's own lack, such as people in a related style. Without any, the
    base samples class images from the same captions, which are cached. Raises `InputError` for an auxiliary picture
    whose caption names the subject.

    subject: the subject with its auxiliary pictures and its class noun
    captions: templates with {} for the class noun, used for pictures without a caption of their own
    count: number of class images, where there are no auxiliary pictures
    batch: pictures in an update
    name: name of the source; sources of one recipe with one name draw alike
    """
    subject.uses.add("auxiliary")
    named = next((picture.name for picture in subject.auxiliary if subject.handle in picture.caption), None)
    if named is not None:
        raise InputError(
            f"the caption of the auxiliary picture {named} names {subject.handle}, whose pictures it is not among: "
            "leave the name out of it"
        )

    def prepare(base: Base) -> Callable[[int, Streams], Batch]:
        if not subject.auxiliary:
            return class_pictures(subject, count=count, captions=captions, batch=batch).prepare(base)
        shown = replace(subject, handle=subject.noun, pictures=subject.auxiliary)
        return photos(shown, captions=captions, batch=batch).prepare(base)

    return Source(name, "subject" if subject.auxiliary else "class", prepare)


def auxiliary_note(subjects: Sequence[Subject], weight: float, count: int) -> tuple[str, ...]:
    """Notes for the user where subjects have no auxiliary pictures, so that class images take their place.

    subjects: subjects of one recipe
    weight: weight of the auxiliary pictures; 0 uses none
    count: number of class images
    """
    bare = [one for one in subjects if not one.auxiliary]
    if not bare or not weight:
        return ()
    return (
        f"there are no auxiliary pictures for {bare[0].handle} (--auxiliary FOLDER): the base paints {count} of "
        f"{bare[0].noun!r} in their place, which keep its style rather than shape yours",
    )
