"""`limner export`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from limner.workflows.requests import ExportRequest

from .common import choice_of, concept_choice
from .flags import add_base, add_command, add_trust, at_least
from .rendering import render


def add_to(commands: Any) -> None:
    """The command and its flags."""
    parser = add_command(commands, "export", export, "write a concept for another tool")
    parser.add_argument(
        "concept",
        type=Path,
        metavar="FILE",
        help="the concept; or the word ip_adapter, for that method's pre-trained weights",
    )
    parser.add_argument("--to", required=True, help="the tool: diffusers, kohya, comfyui, a1111 or peft")
    parser.add_argument("--out", type=Path, help="folder for the files (default: out/export/FORMAT)")
    parser.add_argument(
        "--rank",
        type=at_least(0),
        default=0,
        help="approximate full weight changes by low-rank ones of this rank, and print the error; 0 keeps them whole",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace earlier exports to the same tool")
    add_trust(parser)
    add_base(parser, default=None)


def export(given: argparse.Namespace) -> None:
    request = ExportRequest(
        concept=concept_choice(given, given.concept),
        to=given.to,
        base=choice_of(given),
        out=given.out,
        rank=given.rank,
        overwrite=given.overwrite,
    )
    render(request, given)
