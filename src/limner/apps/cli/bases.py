"""`limner bases`."""

from __future__ import annotations

import argparse
from typing import Any

from .common import out
from .flags import add_command


def add_to(commands: Any) -> None:
    """The command and its flags."""
    add_command(commands, "bases", bases, "list the bases that can be personalised")


def bases(given: argparse.Namespace) -> None:
    from limner.bases.common.loading import known_bases

    rows = known_bases()
    lines = [f"{rows[0]['name']:26} {rows[0]['picture_size']} px, {rows[0]['megabytes']} MB: {rows[0]['about']}", ""]
    lines += [f"{'family':26} {'such as':50} {'opened from':26} {'predicts':20} {'attention':18} words are written in"]
    lines += [
        f"{r['title']:26} {r['example']:50} {r['name']:26} {r['predicts']:20} {r['attention']:18} {r['words']}"
        + (f"; {r['about']}" if r["about"] else "")
        for r in rows[1:]
    ]
    out(given, rows, "\n".join(lines))
