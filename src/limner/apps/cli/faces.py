"""Flags and questions of commands that teach faces."""

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


def ask_consent(given: argparse.Namespace) -> None:
    """Ask whose face it is and whether it may be taught, where the flags do not say. Raises `InputError` where nobody
    agrees, and for flags about faces where the subject is none."""
    if given.kind != "face":
        vain = next((f for f in ("faces", "which", "person", "yes_i_may", "guardian") if getattr(given, f)), None)
        if vain:
            raise InputError(f"--{vain.replace('_', '-')} is about faces: say --kind face, or leave it out")
        return
    if given.yes_i_may:
        return
    given.person = given.person or _answer("Whose face is it? ")
    may = _answer(f"Does {given.person or 'that person'} agree that this face is taught to an image generator? [y/N] ")
    given.yes_i_may = bool(given.person) and _is_yes(may)
    if not given.yes_i_may:
        raise InputError(
            "nobody has said that this face may be taught, so nothing was; in scripts, say --person NAME --yes-i-may"
        )


def render_learning(request: LearnRequest, given: argparse.Namespace) -> None:
    """Do what the request asks for and show it. Where the face looks like a child's, the guardian's word is asked
    first."""
    try:
        render(request, given)
    except GuardianNeeded as error:
        say(str(error))
        guardian = _answer("Which parent or guardian agrees that the child's face is taught? (empty: none) ")
        if not guardian:
            raise
        render(replace(request, guardian=guardian), given)


def _answer(question: str) -> str:
    """A line of the user's; empty where nobody is there to answer."""
    if not sys.stdin or not sys.stdin.isatty():
        return ""
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


def _is_yes(answer: str) -> bool:
    return answer.lower() in ("y", "yes")
