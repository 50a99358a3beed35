"""`limner import`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from limner.workflows.requests import ImportRequest

from .common import choice_of
from .flags import add_base, add_command
from .rendering import render


def add_to(commands: Any) -> None:
    """The command and its flags."""
    parser = add_command(commands, "import", import_, "read a concept from another tool's file")
    parser.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="a LoRA, DoRA, LoHa, LoKr, embedding, Custom Diffusion, IP-Adapter (FaceID too) or MS-Diffusion file, or a "
        "folder of PEFT, InstantID or SSR-Encoder",
    )
    parser.add_argument(
        "--name",
        default="",
        help="name of the subject in prompts (default: the name in the file, else the file's own name)",
    )
    parser.add_argument(
        "--class", dest="noun", default="", metavar="NOUN", help="class of the subject: dog, teapot, person"
    )
    parser.add_argument("--says", default="", metavar="WORDS", help="trigger words that the file was trained with")
    parser.add_argument(
        "--partial", action="store_true", help="import the tensors that limner understands, and list the others"
    )
    parser.add_argument("--out", type=Path, default=Path(), help="folder for the concept (default: here)")
    parser.add_argument("--overwrite", action="store_true", help="replace a concept of that name")
    add_base(parser)


def import_(given: argparse.Namespace) -> None:
    request = ImportRequest(
        file=given.file,
        name=given.name,
        noun=given.noun,
        says=given.says,
        partial=given.partial,
        base=choice_of(given),
        out=given.out,
        overwrite=given.overwrite,
    )
    render(request, given)
