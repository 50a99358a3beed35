"""`limner check`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .common import base_of, opened, out, read_concept
from .flags import add_base, add_command, add_trust, at_least


def add_to(commands: Any) -> None:
    """The command and its flags."""
    parser = add_command(commands, "check", check, "certify a concept in the precision it will be used in")
    parser.add_argument("concept", type=Path, metavar="FILE", help="what was learned")
    parser.add_argument("--steps", type=at_least(1), default=8, help="sampling steps of its pictures")
    parser.add_argument("--any-base", action="store_true", help="on another base of its family")
    add_trust(parser)
    add_base(parser, default=None)


def check(given: argparse.Namespace) -> None:
    from limner.workflows.certify import certify

    concept = read_concept(given, given.concept)
    base = opened(given, base_of(given, concept))
    found = certify(base, concept, steps=given.steps, seed=given.seed, any_base=given.any_base)
    rows = [{"what": c.what, "ok": c.ok, "found": c.found} for c in found.checks]
    out(given, {"ok": found.ok, "dtype": found.dtype, "checks": rows}, str(found))
    found.demand()
