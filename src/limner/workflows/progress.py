"""Progress of training on the terminal: a bar in one line, with the time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Protocol

EVERY_SECONDS = 0.5
EVERY_SECONDS_IN_A_LOG = 15.0
WIDTH = 24  # characters of the bar


class Update(Protocol):
    """The fields of a training update that are drawn: of `limner.engine.train.Progress`, or of its event."""

    @property
    def done(self) -> int: ...
    @property
    def total(self) -> int: ...
    @property
    def losses(self) -> Mapping[str, float]: ...
    @property
    def eta(self) -> float: ...
    @property
    def last(self) -> bool: ...


def show() -> Callable[[Update], None]:
    """A watcher that rewrites one line on a terminal, and now and then adds one to a log."""
    line = Line()

    def watch(progress: Update) -> None:
        line.show(update_line(progress), now=progress.last)
        if progress.last:
            line.end()

    return watch


def update_line(progress: Update) -> str:
    """An update of training in one line: a bar, the losses, the time left."""
    full = WIDTH * progress.done // max(progress.total, 1)
    bar = f"[{'#' * full}{'.' * (WIDTH - full)}]"
    losses = "  ".join(f"{name} {value:.4f}" for name, value in progress.losses.items())
    return f"{bar} {progress.done}/{progress.total}  {losses}  {_span(progress.eta)} left"


def fleet_line(done: int, learning: int, waiting: int, loss: float, seconds: float) -> str:
    """An update of many subjects that learn in one pass, in one line."""
    return f"{done} done, {learning} learning, {waiting} waiting; loss {loss:.4f}; {_span(seconds)}"


class Line:
    """A line of progress that is updated at intervals: in place on a terminal, as a new line in a log."""

    def __init__(self) -> None:
        self.live = sys.stderr.isatty()
        self.written = 0.0  # time of the last writing
        self.open = False  # on a terminal: whether the cursor stands at the end of the line

    def show(self, text: str, *, now: bool = False) -> None:
        """Write the line, unless the last one is recent; with `now`, write it in any case."""
        since = time.monotonic() - self.written
        if not now and since < (EVERY_SECONDS if self.live else EVERY_SECONDS_IN_A_LOG):
            return
        self.written, self.open = time.monotonic(), self.live
        print(f"\r{text:<100}" if self.live else text, end="" if self.live else "\n", file=sys.stderr, flush=True)

    def end(self) -> None:
        """End the line, so that later output begins below it."""
        if self.open:
            print(file=sys.stderr)
        self.open = False


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
