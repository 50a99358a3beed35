"""Progress of teaching on the terminal: a bar in one line, with the time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Protocol

EVERY_SECONDS = 0.5
EVERY_SECONDS_IN_A_LOG = 15.0
WIDTH = 24  # characters of the bar


class Update(Protocol):
    """The part of an update of teaching that is drawn: `limner.engine.train.Progress`, or the event of one."""

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
    live = sys.stderr.isatty()
    said = [0.0]

    def watch(progress: Update) -> None:
        now = time.monotonic()
        last = progress.last
        if now - said[0] < (EVERY_SECONDS if live else EVERY_SECONDS_IN_A_LOG) and not last:
            return
        said[0] = now
        end = "\n" if last or not live else ""
        line = _line(progress)
        print(f"\r{line:<100}" if live else line, end=end, file=sys.stderr, flush=True)

    return watch


def _line(progress: Update) -> str:
    full = WIDTH * progress.done // max(progress.total, 1)
    bar = f"[{'#' * full}{'.' * (WIDTH - full)}]"
    losses = "  ".join(f"{name} {value:.4f}" for name, value in progress.losses.items())
    return f"{bar} {progress.done}/{progress.total}  {losses}  {_span(progress.eta)} left"


class Line:
    """A line that is written anew now and then, on a terminal in place."""

    def __init__(self) -> None:
        self.live, self.said = sys.stderr.isatty(), 0.0
        self.begun = False

    def show(self, text: str) -> None:
        now = time.monotonic()
        if now - self.said >= (EVERY_SECONDS if self.live else EVERY_SECONDS_IN_A_LOG):
            self.said, self.begun = now, True
            print(f"\r{text:<100}" if self.live else text, end="" if self.live else "\n", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self.live and self.begun:
            print(file=sys.stderr)
        self.begun = False


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
