"""Flags and questions of commands that learn faces."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from limner.core.consent import GuardianNeeded
from limner.errors import InputError

from .common import say
from .flags import at_least
from .rendering import render

if TYPE_CHECKING:
    from limner.workflows.requests import LearnRequest

    from .parser import Parser


def add_faces(parser: Parser) -> None:
    """Add the flags of a subject of kind face."""
    group = parser.add_argument_group("faces (--kind face)")
    group.add_argument(
        "--faces",
        metavar="WHERE",
        help="networks that find and recognise faces: a folder of facenet-pytorch's or insightface's models, or "
        "FILE.py:FUNCTION; both libraries' weights come from research data, insightface's are for non-commercial "
        "research only",
    )
    group.add_argument(
        "--which",
        type=at_least(1),
        metavar="N",
        help="number of the person, counted from the left, where pictures show several people",
    )
    group.add_argument("--person", metavar="WHO", help="name of the person; asked for where it is not given")
    group.add_argument(
        "--yes-i-may",
        action="store_true",
        help="confirm that the person consents to the training on this face; asked for where it is not given",
    )
    group.add_argument("--guardian", metavar="WHO", help="for a child's face: the parent or guardian who consents")


def ask_consent(given: argparse.Namespace) -> None:
    """Ask for the person's name and consent where the flags do not give them. Raises `InputError` without consent, and
    for flags about faces where the subject is no face."""
    if given.kind != "face":
        vain = next((f for f in ("faces", "which", "person", "yes_i_may", "guardian") if getattr(given, f)), None)
        if vain:
            raise InputError(f"--{vain.replace('_', '-')} is for faces alone: add --kind face, or leave it out")
        return
    if given.yes_i_may:
        return
    given.person = given.person or _answer("Whose face is it? ")
    may = _answer(f"Does {given.person or 'that person'} agree that an image generator learns this face? [y/N] ")
    given.yes_i_may = bool(given.person) and _is_yes(may)
    if not given.yes_i_may:
        raise InputError(
            "there is no consent to learn this face, so nothing was learned; in scripts, say --person NAME --yes-i-may"
        )


def render_learning(request: LearnRequest, given: argparse.Namespace) -> None:
    """Run the request and print its events. Where the face looks like a child's, ask for a guardian's consent first."""
    try:
        render(request, given)
    except GuardianNeeded as error:
        say(str(error))
        guardian = _answer("Which parent or guardian agrees that the child's face is learned? (empty: none) ")
        if not guardian:
            raise
        render(replace(request, guardian=guardian), given)


def _answer(question: str) -> str:
    """The user's answer, one line; empty where the input is not a terminal."""
    if not sys.stdin or not sys.stdin.isatty():
        return ""
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


def _is_yes(answer: str) -> bool:
    return answer.lower() in ("y", "yes")
