"""`limner check`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from limner.workflows.events import CheckDone
from limner.workflows.requests import CheckRequest

from .common import choice_of, concept_choice
from .flags import add_base, add_command, add_trust, at_least
from .rendering import render


def add_to(commands: Any) -> None:
    """The command and its flags."""
    parser = add_command(
        commands, "check", check, "check that a concept works on its base, in the precision in which it will be used"
    )
    parser.add_argument("concept", type=Path, metavar="FILE", help="the concept")
    parser.add_argument(
        "--steps", type=at_least(1), default=8, help="sampling steps of the pictures that the check paints"
    )
    parser.add_argument("--any-base", action="store_true", help="check the concept on another base of its family")
    add_trust(parser)
    add_base(parser, default=None)


def check(given: argparse.Namespace) -> None:
    request = CheckRequest(
        concept=concept_choice(given, given.concept),
        base=choice_of(given),
        seed=given.seed,
        steps=given.steps,
        any_base=given.any_base,
    )
    render(request, given, quiet=(CheckDone,))
