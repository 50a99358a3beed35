"""`limner merge`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from limner.workflows.requests import MergeRequest

from .common import choice_of, concept_choice
from .flags import add_base, add_command, add_trust
from .rendering import render

BY = ("average", "weighted", "closed-form", "gradient-fusion", "neurons", "orthogonal", "continual")
"""The names of `limner.parts.merging.MERGINGS`, repeated here because importing that module loads torch."""


def add_to(commands: Any) -> None:
    """The command and its flags."""
    parser = add_command(commands, "merge", merge, "merge several concepts into one that answers to all their handles")
    parser.add_argument(
        "concepts", nargs="+", type=Path, metavar="FILE", help="two concepts or more, all learned on one base"
    )
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="the file to write")
    parser.add_argument(
        "--by",
        choices=BY,
        default="average",
        help="how changes of the base are merged: average, weighted, closed-form (Custom Diffusion), gradient-fusion "
        "(Mix-of-Show), neurons (Cones), orthogonal, or continual, which goes in the order given",
    )
    parser.add_argument(
        "--weights",
        nargs="+",
        type=float,
        default=[],
        metavar="WEIGHT",
        help="for --by weighted: one weight for each concept",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a concept of that name")
    add_trust(parser)
    add_base(parser, default=None)


def merge(given: argparse.Namespace) -> None:
    request = MergeRequest(
        concepts=tuple(concept_choice(given, path) for path in given.concepts),
        out=given.out,
        by=given.by,
        weights=tuple(given.weights),
        base=choice_of(given),
        overwrite=given.overwrite,
    )
    render(request, given)
