"""`limner methods`."""

from __future__ import annotations

import argparse
from typing import Any

from limner.workflows.form import methods_table, protections_table

from .common import out
from .flags import add_command


def add_to(commands: Any) -> None:
    """The command and its flags."""
    add_command(commands, "methods", methods, "list every method with its paper and framework")


def methods(given: argparse.Namespace) -> None:
    rows = methods_table()
    head = f"{'':24} {'H':>5} {'seconds':>7}  {'framework':24} {'for':24} paper"
    lines = [
        f"{r['name']:24} {_short(r['measured'], 'H', '.2f'):>5} {_short(r['measured'], 'seconds', '.0f'):>7}  "
        f"{r['framework']:24} "
        f"{', '.join(r['scope']):24} {r['title']}, {r['year']}, "
        f"{r['arxiv'] or r['source']}{' *' if r['together'] else ''}"
        for r in rows
    ]
    lines.append("* learns many subjects in one pass: limner learn FOLDERS --together")
    protecting = [f"{r['name']:24} {r['title']}, {r['year']}, {r['arxiv']}" for r in protections_table()]
    out(given, rows, "\n".join([head, *lines, "", "methods of `limner protect`, which learn no concept:", *protecting]))


def _short(row: dict[str, float], key: str, how: str) -> str:
    return format(row[key], how) if key in row else "-"
