"""Curves of a job, as the coordinates of an SVG."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 640, 200, 44, 12, 24
MOST_POINTS = 300


class Tick(NamedTuple):
    at: float
    text: str


class Chart(NamedTuple):
    """Coordinates in a box of `WIDTH` x `HEIGHT`."""

    path: str
    faint: str  # the values as they are, where the path is a running mean
    dots: tuple[tuple[float, float], ...]
    rows: tuple[Tick, ...]
    columns: tuple[Tick, ...]
    words: str  # the same in a sentence, for people who do not see it
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT


def chart(points: Sequence[tuple[float, float]], *, name: str, mean: float = 0.0, dots: bool = False) -> Chart | None:
    """A curve of (update, value) points; None for fewer than two finite ones. `mean` is the decay of a running mean,
    from 0 (none) to 1."""
    known = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    if len(known) < 2:
        return None
    known = _thinned(known)
    smooth = _running(known, mean)
    low, high = min(y for _, y in known), max(y for _, y in known)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    first, last = known[0][0], max(known[-1][0], known[0][0] + 1)

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (x - first) / (last - first) * (WIDTH - LEFT - 12)
        return round(across, 1), round(TOP + (high - y) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    rows = tuple(Tick(place(first, y)[1], f"{y:.3g}") for y in (low, (low + high) / 2, high))
    columns = tuple(Tick(place(x, low)[0], f"{x:.0f}") for x in (first, (first + last) / 2, last))
    words = (
        f"{name}: {known[0][1]:.3g} at update {first:.0f}, {smooth[-1][1]:.3g} at update {known[-1][0]:.0f}; "
        f"lowest {low:.3g}, highest {high:.3g}"
    )
    faint = _path(place(*p) for p in known) if mean else ""
    return Chart(
        _path(place(*p) for p in smooth), faint, tuple(place(*p) for p in known) if dots else (), rows, columns, words
    )


def loss_points(events: Iterable[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """(update, sum of the weighted losses) of the events of a training."""
    points = []
    for event in events:
        if event.get("event") == "update_done":
            points.append((float(event["done"]), float(sum(event.get("losses", {}).values()))))
        elif event.get("event") == "fleet_update_done" and event.get("loss") is not None:
            points.append((float(len(points) + 1), float(event["loss"])))
    return points


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most `MOST_POINTS` + 1 points, evenly chosen, with the last."""
    step = -(-len(points) // MOST_POINTS)
    return points if step < 2 else [*points[::step], points[-1]]


def _running(points: list[tuple[float, float]], decay: float) -> list[tuple[float, float]]:
    mean, weight, smooth = 0.0, 0.0, []
    for x, y in points:
        mean, weight = decay * mean + (1 - decay) * y, decay * weight + (1 - decay)
        # divided by the weights so far, so that the first values do not pull the mean
        smooth.append((x, mean / weight))
    return smooth


def _path(points: Iterable[tuple[float, float]]) -> str:
    return "M" + " L".join(f"{x:g},{y:g}" for x, y in points)
