"""`limner try-on`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from limner.workflows.requests import TryOnRequest

from .common import choice_of
from .flags import add_base, add_command
from .rendering import render
from .swap import add_painting


def add_to(commands: Any) -> None:
    """The command and its flags."""
    parser = add_command(commands, "try-on", try_on, "put a garment on the person in a photo")
    parser.add_argument("person", type=Path, help="photo of the person")
    parser.add_argument(
        "garment",
        type=Path,
        help="photo of the garment; with a mask beside it (NAME.mask.png) or a transparent background, else the base "
        "segments it",
    )
    parser.add_argument(
        "--where",
        type=Path,
        metavar="FILE",
        help="mask of the person's photo, of its size, white where the garment goes; the rest stays bit for bit "
        "(default: the box below the face)",
    )
    parser.add_argument("--noun", default="shirt", help="kind of the garment (default: shirt)")
    parser.add_argument(
        "--method",
        default="pe_viton",
        metavar="METHOD",
        help="a method that is not trained for every subject, such as anydoor (default: pe_viton)",
    )
    add_painting(parser, out="out/try-on", steps=25, guidance=4.0)
    add_base(parser)


def try_on(given: argparse.Namespace) -> None:
    render(request_of(given), given)


def request_of(given: argparse.Namespace) -> TryOnRequest:
    """The request that the flags describe."""
    return TryOnRequest(
        person=given.person,
        garment=given.garment,
        base=choice_of(given),
        where=given.where,
        noun=given.noun,
        method=given.method,
        seed=given.seed,
        count=given.count,
        out=given.out,
        overwrite=given.overwrite,
        steps=given.steps,
        guidance=given.guidance,
    )
