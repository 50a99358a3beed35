"""Which method, for whom asks for none."""

from __future__ import annotations

import functools
import json
import re
import time
from collections.abc import Callable
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import InputError, UnknownName
from .methods import DEFAULT, card, methods

if TYPE_CHECKING:
    from .teaching import Progress

GOALS = {"fast": 0.8, "balanced": 0.95, "best": 1.0}
"""The share of the best measured H that will do; of those, the least time wins."""
FEWEST = 2
"""Toys a method must have been measured on to be chosen."""


class Choice(NamedTuple):
    """A method, and why."""

    method: str
    why: str


@functools.cache
def measured() -> dict[str, dict[str, float]]:
    """H, F, T, toys, seconds and bytes of every method on the pocket base's bench, by name; empty when nothing was measured."""
    file = resources.files("limner.methods") / "measured.json"
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


def choose(*, base: str, goal: str = "balanced", kind: str = "object", budget: float | None = None) -> Choice:
    """The method for a goal on a base, by what was measured there.

    `budget` in seconds leaves out methods that took longer. Raises `InputError` when nothing is that quick.
    """
    if goal not in GOALS:
        raise UnknownName("goal", goal, GOALS)
    if base != "pocket":
        name = "dreambooth" if goal == "best" else DEFAULT
        return Choice(name, f"nothing was measured on {base}; this is the field's everyday way to the goal {goal!r}")
    wanted = "object" if kind == "pet" else kind
    known = methods()
    able = {
        n: row
        for n, row in measured().items()
        if n in known and row["toys"] >= FEWEST and wanted in card(known[n]).scope
    }
    if not able:
        return Choice(DEFAULT, f"nothing was measured for a {kind}; this is the field's everyday way")
    quick = {n: row for n, row in able.items() if budget is None or row["seconds"] <= budget}
    if not quick:
        least = min(row["seconds"] for row in able.values())
        raise InputError(
            f"no method for a {kind} took less than {least:.0f} s when measured; the budget is {budget:.0f} s"
        )
    best = max(row["H"] for row in quick.values())
    enough = {n: row for n, row in quick.items() if row["H"] >= GOALS[goal] * best}
    name = min(enough, key=lambda n: (enough[n]["seconds"], n))
    row = enough[name]
    of = "within the budget" if budget is not None else "of all"
    share = "the highest H" if goal == "best" else f"the quickest with {GOALS[goal]:.0%} of the best H"
    return Choice(name, f"{share} {of}: H {row['H']:.2f} in {row['seconds']:.0f} s where it was measured")


def seconds(text: str) -> float:
    """ "90s", "3m", "1.5h" or "90" -> seconds. Raises `InputError` for anything else."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh]?)\s*", text)
    if not found or not float(found[1]):
        raise InputError(f"a budget is a time such as 90s, 3m or 1h, not {text!r}")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def within(budget: float, say: Callable[[str], Any]) -> Callable[[Progress], bool]:
    """A watch that ends teaching when the time since now is used up."""
    began = time.monotonic()

    def watch(progress: Progress) -> bool:
        over = time.monotonic() - began >= budget
        if over and not progress.last:
            say(f"the budget of {budget:.0f} s is used up after {progress.done} of {progress.total} updates")
        return over

    return watch
