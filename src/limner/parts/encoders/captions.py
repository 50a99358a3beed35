"""Captions of the subject's pictures that describe everything but the subject."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from limner.core.base import Base
    from limner.core.subject import Subject


def structured_captions(base: Base, subject: Subject) -> list[str]:
    """A caption for each picture, with {} for the subject, that names background and view (Sec. 3.2 of
    arXiv:2311.04315).

    The base's captioner writes them; without one, captions of the user's own are needed, and each is "a photo of {}".
    """
    captioner = base.captioner
    if captioner is None or not subject.pictures:
        return ["a photo of {}"] * len(subject.pictures)
    return captioner(subject.tensor(base.picture_size))
