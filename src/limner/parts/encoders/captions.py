"""Captions of the subject's pictures that describe everything but the subject."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from limner.core.base import Base
    from limner.core.subject import Subject


def structured_captions(base: Base, subject: Subject) -> list[str]:
    """A caption for each picture, with {} for the subject, that names background and view (Sec. 3.2 of
    arXiv:2311.04315).

    So background and view are not learned as the subject's. On the pocket base its judge writes them; on other bases
    the user's own captions are needed.

    base: the base
    subject: the subject
    """
    if base.name != "pocket" or not subject.pictures:
        return ["a photo of {}"] * len(subject.pictures)
    from limner.pocket import judges
    from limner.pocket.world.grammar import PLACES, VIEWED

    seen = judges.read(subject.tensor(base.picture_size))
    found = []
    for row in seen:
        view = "" if row["view"] == "front" else f", {VIEWED[row['view']][0]}"
        found.append(f"a photo of {{}} {PLACES[row['scene']][0]}{view}")
    return found
