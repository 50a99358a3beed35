"""Whether a method is shown to be better than the base alone, by results/bench.json; without that it is
experimental."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docs import suites

BENCH = Path(__file__).parent.parent / "results" / "bench.json"
MARGIN = 0.05
"""Share of the gap in fidelity (F) from the base alone, 0, to the reference images, 1, that the interval's lower end
must reach."""


def standing(name: str) -> str:
    """The line of a method's page that states its margin over the base alone, or marks the method as experimental."""
    summary = json.loads(BENCH.read_text(encoding="utf-8"))["summary"] if BENCH.exists() else {}
    if name not in summary and (line := suites.standing(name)):
        return line
    return verdict(summary[name]["numbers"]["F"] if name in summary else None)


def verdict(fidelity: dict[str, Any] | None) -> str:
    """fidelity: mean, low and high of F over held-out toys (95 % bootstrap interval); None where nothing was
    measured"""
    if fidelity is None:
        return "**Experimental**: not measured on the pocket base."
    low, high = fidelity["low"], fidelity["high"]
    if low < MARGIN:
        return (
            f"**Experimental**: not shown to be better than the base alone: the interval of F, [{low:.2f}, {high:.2f}], "
            f"begins below {MARGIN}."
        )
    return f"Better than the base alone: F is at least {low:.2f} (lower end of the 95 % interval; {MARGIN} are asked)."
