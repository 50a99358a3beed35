"""`limner doctor`."""

from __future__ import annotations

import argparse
from typing import Any

from limner.errors import InputError

from .common import out
from .flags import add_command


def add_to(commands: Any) -> None:
    """The command and its flags."""
    parser = add_command(
        commands,
        "doctor",
        doctor,
        "examine this installation (libraries, optional extras, device, cache) and list what is missing",
    )
    parser.add_argument(
        "--time",
        action="store_true",
        help="also measure how long each part of the work takes on this machine, and suggest what would make it faster",
    )


def doctor(given: argparse.Namespace) -> None:
    from limner.workflows.doctor import advice, clocked, examine

    checks = examine()
    lines = [f"{_mark(c)}  {c['what']:20} {c['found']}" for c in checks]
    record: Any = checks
    if given.time:
        times = clocked()
        helps = advice(times)
        lines += [
            "",
            *(f"{t['seconds']:8.3f} s  {t['what']}" for t in times),
            *(f"would help: {text}" for text in helps),
        ]
        record = {"checks": checks, "times": times, "would_help": helps}
    out(given, record, "\n".join(lines))
    if not all(c["ok"] for c in checks):
        raise InputError("something is missing or broken: see the lines marked BAD")


def _mark(check: Any) -> str:
    """Three characters: good, bad, or an optional extra that is not installed."""
    if not check["ok"]:
        return "BAD"
    return "ok " if check.get("installed", True) else "-  "
