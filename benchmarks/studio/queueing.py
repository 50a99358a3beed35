"""Arrivals of orders, and a simulation of batches that orders can join while they run."""

from __future__ import annotations

import random
import statistics
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Poisson:
    """Arrivals of a Poisson process, `rate` a second."""

    rate: float
    count: int
    seed: int = 0

    @property
    def times(self) -> list[float]:
        draw, now, times = random.Random(self.seed), 0.0, []
        for _ in range(self.count):
            now += draw.expovariate(self.rate)
            times.append(now)
        return times


def latencies(seconds: Sequence[float]) -> dict[str, float]:
    """Median and 95th percentile, in seconds."""
    cuts = statistics.quantiles(seconds, n=20)
    return {"p50, s": round(statistics.median(seconds), 3), "p95, s": round(cuts[18], 3)}


def simulated(
    arrivals: Sequence[float], step_seconds: Mapping[int, float], *, steps: int, most: int, joins: bool
) -> list[float]:
    """Latency of each order in a queue with one machine.

    Args:
        arrivals: seconds, rising.
        step_seconds: rows -> seconds of a step of so many rows; between two numbers of rows it is interpolated.
        steps: steps of a picture.
        most: rows in a batch.
        joins: whether an order joins the running batch before its next step; otherwise a batch runs to its end before
            the next one starts.
    """
    waiting, running = deque(range(len(arrivals))), dict[int, int]()  # order -> its steps that are left
    now, done = 0.0, [0.0] * len(arrivals)
    while waiting or running:
        if not running:
            now = max(now, arrivals[waiting[0]])
        while waiting and arrivals[waiting[0]] <= now and len(running) < most and (joins or fresh(running, steps)):
            running[waiting.popleft()] = steps
        now += _seconds(step_seconds, len(running))
        for order in list(running):
            running[order] -= 1
            if not running[order]:
                done[order] = now - arrivals[order]
                del running[order]
    return done


def joining(step_seconds: Mapping[int, float], steps: int) -> list[dict[str, Any]]:
    """Latencies if orders joined a running batch between steps, beside batches that run to their end: simulated with
    measured seconds of a step, and with seconds as on a machine where a step takes the same for any number of rows.

    Args:
        step_seconds: rows -> seconds of a step of so many rows.
        steps: steps of a picture.
    """
    machines = {
        "this machine": step_seconds,
        "steps that cost the same for 1 to 8 rows": dict.fromkeys(step_seconds, step_seconds[1]),
    }
    rows = []
    for name, seconds in machines.items():
        alone = 1 / (steps * seconds[1])
        for share in (0.5, 0.9, 1.3):
            arrivals = Poisson(share * alone, 4000, seed=3).times
            for joins in (False, True):
                each = simulated(arrivals, seconds, steps=steps, most=8, joins=joins)
                rows.append({"machine": name, "load": share, "joins": joins, **latencies(each)})
    return rows


def fresh(running: Mapping[int, int], steps: int) -> bool:
    """Whether no step of the running batch is done."""
    return all(left == steps for left in running.values())


def _seconds(step_seconds: Mapping[int, float], rows: int) -> float:
    below = max(known for known in step_seconds if known <= rows)
    above = min(known for known in step_seconds if known >= rows)
    part = (rows - below) / (above - below) if above > below else 0.0
    return step_seconds[below] + part * (step_seconds[above] - step_seconds[below])
