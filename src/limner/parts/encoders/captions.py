"""Captions of the subject's pictures that describe everything but the subject."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from limner.core.base import Base
    from limner.core.subject import Subject


def structured_captions(base: Base, subject: Subject) -> list[str]:
    """A caption for each picture, with {} for the subject, that names background and view (Sec. 3.2 of
    arXiv:2311.04315).

    Background and view are then not learned as the subject's. The base's captioner writes the captions. Without one,
    each is "a photo of {}", and the user's own captions are needed.

    base: the base
    subject: the subject with its pictures
    """
    captioner = base.captioner
    if captioner is None or not subject.pictures:
        return ["a photo of {}"] * len(subject.pictures)
    return captioner(subject.tensor(base.picture_size))
