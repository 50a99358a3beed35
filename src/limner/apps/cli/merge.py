"""`limner merge`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from limner.core.wording import counted, listed

from .common import base_of, opened, out, read_concept, say
from .flags import add_base, add_command, add_trust

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
    from limner.core.files import check_place
    from limner.workflows.merge import merge

    check_place(given.out, overwrite=given.overwrite)
    concepts = [read_concept(given, path) for path in given.concepts]
    base = opened(given, base_of(given, concepts[0]))
    merged = merge(base, concepts, by=given.by, weights=given.weights)
    path = merged.save(given.out, overwrite=given.overwrite)
    say(f"merged {counted(len(concepts), 'concept')} by {given.by}; write {listed(merged.handles)} in prompts")
    out(given, {"concept": str(path), "handles": list(merged.handles)}, str(path))
