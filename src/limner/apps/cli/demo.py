"""`limner demo`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .common import out
from .flags import add_command


def add_to(commands: Any) -> None:
    """The command and its flags."""
    parser = add_command(commands, "demo", demo, "learn a toy from four pictures and paint it")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out/demo"),
        help="folder for the concept, the pictures and the page (default: out/demo)",
    )


def demo(given: argparse.Namespace) -> None:
    from limner.workflows.demo import demo

    folder = demo(given.out)
    out(given, {"folder": str(folder)}, str(folder))
