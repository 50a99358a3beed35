"""Plain numbers about painting, for a metrics page to export."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Upper bounds of a histogram's buckets, in seconds."""


@dataclass
class Histogram:
    """Numbers of values by bucket: `counts[k]` values are at most `bounds[k]` and above the bound before; the last
    count is for values above all bounds."""

    bounds: tuple[float, ...] = BOUNDS
    counts: list[int] = field(default_factory=list)
    total: float = 0.0  # sum of the values

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        return sum(self.counts)


@dataclass
class Counters:
    """Counts since the painter was made. They only rise."""

    orders: int = 0  # taken into the queue
    painted: int = 0
    failed: int = 0  # orders with an error of their own
    cancelled: int = 0  # before painting
    refused: int = 0  # because the queue was full
    batches: int = 0
    rows: dict[int, int] = field(default_factory=dict)  # number of pictures in a batch -> number of such batches
    waiting: Histogram = field(default_factory=Histogram)  # seconds from the order to the start of its batch
    painting: Histogram = field(default_factory=Histogram)  # seconds of a batch

    def add_batch(self, rows: int, seconds: float) -> None:
        self.batches += 1
        self.rows[rows] = self.rows.get(rows, 0) + 1
        self.painting.add(seconds)
