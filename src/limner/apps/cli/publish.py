"""`limner publish`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from limner.workflows.requests import PublishRequest

from .common import choice_of, concept_choice
from .flags import add_base, add_command, add_trust
from .rendering import render


def add_to(commands: Any) -> None:
    """The command and its flags."""
    parser = add_command(commands, "publish", publish, "write a model card and upload it to the hub")
    parser.add_argument("concept", type=Path, metavar="FILE", help="the concept")
    parser.add_argument("--to", required=True, metavar="USER/REPO", help="repository on the hub")
    parser.add_argument(
        "--formats",
        nargs="+",
        default=["diffusers"],
        help="tools to export the concept for (see `limner export`; default: diffusers)",
    )
    parser.add_argument(
        "--licence", default="", help="licence of the concept, by the hub's name for it (default: other)"
    )
    parser.add_argument(
        "--pictures",
        type=Path,
        metavar="FOLDER",
        help="folder of pictures for the gallery (default: four new ones are painted)",
    )
    parser.add_argument("--out", type=Path, help="folder for the repository's files (default: out/publish/NAME)")
    parser.add_argument("--dry-run", action="store_true", help="write the folder and upload nothing")
    parser.add_argument("--private", action="store_true", help="make the repository private")
    add_trust(parser)
    add_base(parser, default=None)


def publish(given: argparse.Namespace) -> None:
    request = PublishRequest(
        concept=concept_choice(given, given.concept),
        to=given.to,
        base=choice_of(given),
        formats=tuple(given.formats),
        licence=given.licence,
        pictures=given.pictures,
        out=given.out,
        upload=not given.dry_run,
        private=given.private,
    )
    render(request, given)
