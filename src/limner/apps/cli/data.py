"""`limner data`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .common import out
from .flags import add_command


def add_to(commands: Any) -> None:
    """The command and its flags."""
    parser = add_command(commands, "data", data, "show how `limner learn` would read a folder of pictures")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="pictures in any tool's layout")
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help="write an HTML page with thumbnails, captions and masks"
    )


def data(given: argparse.Namespace) -> None:
    from limner.core.files import check_place
    from limner.data.layouts import recognised, write_page

    if given.page:
        check_place(given.page, overwrite=True)
    contents = recognised(given.folder)
    if given.page:
        write_page(given.page, contents)
    out(given, contents.record, str(contents))
