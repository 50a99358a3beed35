"""Preparation of a face before training: consent, and pictures cut to the face."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from limner.core.consent import Consent, demand

if TYPE_CHECKING:
    from limner.core.base import Base
    from limner.core.subject import Subject

WHOLE = (
    "pictures are used whole, since the base has no networks that find faces; crop the pictures to the face, or "
    "name networks with faces=FOLDER (--faces FOLDER)"
)


def face_alone(base: Base, subject: Subject, *, which: int | None = None) -> Subject:
    """The subject with its pictures cut to the face by the base's networks, or with a note where the base has none.
    Subjects that are no faces, and those that are cut already, are returned as they are."""
    if subject.kind != "face" or subject.faces_alone or not subject.pictures:
        return subject
    faces = base.capabilities.faces
    if faces is None:
        return replace(subject, notes=(*subject.notes, WHOLE), faces_alone=True)
    return subject.with_faces_alone(faces, which=which)


def consented(subject: Subject, *, may: bool, person: str, guardian: str) -> Subject:
    """The subject with the consent from a request; subjects that are no faces are returned as they are."""
    if subject.kind != "face" or not may:
        return subject
    return replace(subject, consent=Consent(person or "not said", guardian))


def looks_of_age(base: Base, subject: Subject) -> dict[str, str]:
    """Age group of the face in each picture, by the base's networks: "child", "adult", "old", or empty where it is
    unknown."""
    faces = base.capabilities.faces
    return {
        picture.name: faces.age(picture.image) if faces is not None and picture.image is not None else ""
        for picture in subject.pictures
    }


def demand_consent(base: Base, subject: Subject) -> None:
    """Raise `InputError` where the subject is a face without consent; a child's face needs a guardian's consent too."""
    if subject.kind == "face":
        demand(subject.consent, handle=subject.handle, ages=looks_of_age(base, subject) if subject.consent else {})
