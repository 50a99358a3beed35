"""`limner report`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .common import out
from .flags import add_command


def add_to(commands: Any) -> None:
    """The command and its flags."""
    parser = add_command(commands, "report", report, "write the results of a bench as an HTML page, CSV and Markdown")
    parser.add_argument(
        "results",
        type=Path,
        nargs="?",
        default=Path("results/bench.json"),
        help="results file of the bench (default: results/bench.json)",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out/report.html"), help="page to write (default: out/report.html)"
    )
    parser.add_argument("--pictures", type=Path, help="folder of the bench's pictures (default: out/bench/NAME)")


def report(given: argparse.Namespace) -> None:
    from limner.evaluation.report import report

    folder = given.pictures or Path("out/bench") / given.results.stem
    path = report(given.results, given.out, pictures=folder)
    out(given, {"page": str(path)}, str(path))
