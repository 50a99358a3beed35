"""`limner score`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from limner.workflows.events import ConceptScored, PictureScored
from limner.workflows.requests import ScoreRequest

from .common import choice_of, concept_choice, roles_of
from .flags import add_base, add_command, add_encoders, add_trust, at_least
from .rendering import render


def add_to(commands: Any) -> None:
    """The command and its flags."""
    parser = add_command(
        commands,
        "score",
        score,
        "score a concept (subject fidelity, prompt alignment, copying) and suggest what to try next",
    )
    parser.add_argument("concept", type=Path, metavar="FILE", help="the concept")
    parser.add_argument("--photos", type=Path, help="file or folder of the pictures that the concept was learned from")
    parser.add_argument(
        "--held-out",
        type=Path,
        help="file or folder of other pictures of the subject; without them, subject fidelity is overestimated",
    )
    parser.add_argument("--prompts", nargs="+", help="prompts that name the subject (default: ten of the pocket world)")
    parser.add_argument(
        "--pictures",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="score these pictures by the concept, and paint none; --prompts then gives one for each, or one for all",
    )
    parser.add_argument("-n", "--count", type=at_least(1), default=2, help="pictures of each prompt")
    parser.add_argument("--out", type=Path, help="folder for sheets of the painted pictures")
    add_encoders(parser)
    add_trust(parser)
    add_base(parser, default=None)


def score(given: argparse.Namespace) -> None:
    request = ScoreRequest(
        concept=concept_choice(given, given.concept),
        base=choice_of(given),
        seed=given.seed,
        count=given.count,
        prompts=tuple(given.prompts or ()),
        pictures=tuple(given.pictures),
        photos=given.photos,
        held_out=given.held_out,
        out=given.out,
        encoders=roles_of(given),
    )
    render(request, given, quiet=(ConceptScored, PictureScored))
