"""`limner methods`."""

from __future__ import annotations

import argparse
from typing import Any

from limner.core.method import settings
from limner.methods import card
from limner.methods import methods as known_methods
from limner.workflows.choose_method import measured

from .common import out
from .flags import add_command


def add_to(commands: Any) -> None:
    """The command and its flags."""
    add_command(commands, "methods", methods, "list every method with its paper and framework")


def methods(given: argparse.Namespace) -> None:
    rows = method_table()
    head = f"{'':24} {'H':>5} {'seconds':>7}  {'framework':24} {'for':24} paper"
    lines = [
        f"{r['name']:24} {_short(r['measured'], 'H', '.2f'):>5} {_short(r['measured'], 'seconds', '.0f'):>7}  "
        f"{r['framework']:24} "
        f"{', '.join(r['scope']):24} {r['title']}, {r['year']}, "
        f"{r['arxiv'] or r['source']}{' *' if r['together'] else ''}"
        for r in rows
    ]
    out(given, rows, "\n".join([head, *lines, "* learns many subjects in one pass: limner learn FOLDERS --together"]))


def _short(row: dict[str, float], key: str, how: str) -> str:
    return format(row[key], how) if key in row else "-"


def method_table() -> list[dict[str, Any]]:
    """Name, title, paper, year, scope, framework, settings and measured results of every method."""
    from limner.core.subject import Subject

    rows = []
    for name, function in known_methods().items():
        about = card(function)
        recipe = function(Subject("<rex>", "dog"))
        rows.append({
            "name": name, "title": about.title, "arxiv": about.arxiv, "source": about.source, "year": about.year,
            "scope": list(about.scope), "framework": recipe.framework, "together": not recipe.why_not_stackable,
            "measured": measured().get(name, {}),
            "full_size": dict(about.full_size), "same": list(about.same), "full_size_source": about.full_size_source,
            "settings": {s.name: {"default": s.default, "help": s.help} for s in settings(function)},
        })  # fmt: skip
    return rows
