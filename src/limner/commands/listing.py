"""`limner methods`, `bases` and `doctor`."""

from __future__ import annotations

import argparse
from typing import Any

from limner.choosing import measured
from limner.errors import InputError
from limner.methods import card
from limner.methods import methods as known_methods
from limner.recipe import settings

from .common import out


def methods(given: argparse.Namespace) -> None:
    rows = method_table()
    head = f"{'':24} {'H':>5} {'seconds':>7}  {'framework':24} {'for':24} paper"
    lines = [
        f"{r['name']:24} {_short(r['measured'], 'H', '.2f'):>5} {_short(r['measured'], 'seconds', '.0f'):>7}  {r['framework']:24} "
        f"{', '.join(r['scope']):24} {r['title']}, {r['year']}, {r['arxiv'] or r['source']}{' *' if r['together'] else ''}"
        for r in rows
    ]
    out(given, rows, "\n".join([head, *lines, "* many subjects in one pass: limner learn FOLDERS --together"]))


def _short(row: dict[str, float], key: str, how: str) -> str:
    return format(row[key], how) if key in row else "-"


def bases(given: argparse.Namespace) -> None:
    from limner.bases.loading import known_bases

    rows = known_bases()
    lines = [f"{rows[0]['name']:26} {rows[0]['picture_size']} px, {rows[0]['megabytes']} MB: {rows[0]['about']}", ""]
    lines += [f"{'family':26} {'such as':50} {'opened from':26} {'predicts':20} {'attention':18} words are written in"]
    lines += [
        f"{r['title']:26} {r['example']:50} {r['name']:26} {r['predicts']:20} {r['attention']:18} {r['words']}"
        + (f"; {r['about']}" if r["about"] else "")
        for r in rows[1:]
    ]
    out(given, rows, "\n".join(lines))


def words(given: argparse.Namespace) -> None:
    from limner.pocket.known import known

    found = known()
    lines = [f"{kind:13} {', '.join(names)}" for kind, names in found.items()]
    head = "The base 'pocket' knows these words and no others; prompts and classes are made of them."
    out(given, found, "\n".join([head, "", *lines]))


def doctor(given: argparse.Namespace) -> None:
    from limner.doctor import advice, clocked, examine

    checks = examine()
    lines = [f"{'ok ' if c['ok'] else 'BAD'}  {c['what']:14} {c['found']}" for c in checks]
    told: Any = checks
    if given.time:
        times = clocked()
        helps = advice(times)
        lines += [
            "",
            *(f"{t['seconds']:8.3f} s  {t['what']}" for t in times),
            *(f"would help: {text}" for text in helps),
        ]
        told = {"checks": checks, "times": times, "would_help": helps}
    out(given, told, "\n".join(lines))
    if not all(c["ok"] for c in checks):
        raise InputError("something is not as it should be; see the lines marked BAD")


def method_table() -> list[dict[str, Any]]:
    """Name, title, paper, year, scope, framework, settings and what was measured of every method."""
    from limner.methods.full_size import FULL_SIZE
    from limner.subject import Subject

    rows = []
    for name, function in known_methods().items():
        about = card(function)
        recipe = function(Subject("<rex>", "dog"))
        rows.append({
            "name": name, "title": about.title, "arxiv": about.arxiv, "source": about.source, "year": about.year, "scope": list(about.scope),
            "framework": recipe.framework, "together": not recipe.alone, "measured": measured().get(name, {}),
            "full_size": dict(theirs.settings) if (theirs := FULL_SIZE.get(name)) else {},
            "full_size_source": theirs.source if theirs else "",
            "settings": {s.name: {"default": s.default, "help": s.help} for s in settings(function)},
        })  # fmt: skip
    return rows
