"""Flags and questions of commands that teach faces."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from limner.core.consent import Consent
from limner.errors import InputError

from .common import say
from .flags import Parser, at_least

if TYPE_CHECKING:
    from limner.core.subject import Subject


def add_faces(parser: Parser) -> None:
    """The flags of a subject of kind face."""
    group = parser.add_argument_group("faces (--kind face)")
    group.add_argument(
        "--faces",
        metavar="WHERE",
        help="networks that find and recognise faces of photographs: a folder of facenet-pytorch's or insightface's models, or "
        "FILE.py:FUNCTION; both libraries' weights were learned from data for research, insightface's for non-commercial use only",
    )
    group.add_argument(
        "--which", type=at_least(1), metavar="N", help="the person's place from the left where pictures show several"
    )
    group.add_argument("--person", metavar="WHO", help="whose face it is; asked where it is not said")
    group.add_argument(
        "--yes-i-may",
        action="store_true",
        help="that person agrees that the face is taught; asked where it is not said",
    )
    group.add_argument(
        "--guardian", metavar="WHO", help="the parent or guardian who agrees, where it is a child's face"
    )


def asked_consent(given: argparse.Namespace, subject: Subject) -> Subject:
    """The subject with the consent that the flags or the user's answers give. Raises `InputError` where there is none."""
    if subject.kind != "face":
        vain = next((f for f in ("faces", "which", "person", "yes_i_may", "guardian") if getattr(given, f)), None)
        if vain:
            raise InputError(f"--{vain.replace('_', '-')} is about faces: say --kind face, or leave it out")
        return subject
    if given.yes_i_may:
        return replace(subject, consent=Consent(given.person or "not said", given.guardian or ""))
    person = given.person or _answer(f"Whose face is {subject.name}? ")
    may = _answer(f"Does {person or 'that person'} agree that this face is taught to an image generator? [y/N] ")
    if not person or not _is_yes(may):
        raise InputError(
            f"nobody has said that the face of {subject.name} may be taught, so nothing was; in scripts, say --person NAME --yes-i-may"
        )
    return replace(subject, consent=Consent(person, given.guardian or ""))


def face_of(given: argparse.Namespace, base: Any, subject: Subject) -> Subject:
    """The subject as it is taught: cut to the face, its notes said; of a face that looks like a child's, the guardian's
    word is asked."""
    from limner.workflows.faces import face_alone, looks_of_age

    if subject.kind != "face":
        return subject
    before = len(subject.notes)
    subject = face_alone(base, subject, which=given.which)
    for note in subject.notes[before:]:
        say(f"note: {note}")
    ages = looks_of_age(base, subject)
    young = sum(age == "child" for age in ages.values())
    if 2 * young <= len(ages) or subject.consent is None or subject.consent.guardian:
        return subject
    say(f"{subject.name} looks like a child ({young} of {len(ages)} pictures)")
    guardian = _answer("Which parent or guardian agrees that the child's face is taught? (empty: none) ")
    return replace(subject, consent=replace(subject.consent, guardian=guardian)) if guardian else subject


def _answer(question: str) -> str:
    """A line of the user's; empty where nobody is there to answer."""
    if not sys.stdin or not sys.stdin.isatty():
        return ""
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


def _is_yes(answer: str) -> bool:
    return answer.lower() in ("y", "yes")
