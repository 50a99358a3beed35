"""Progress of teaching on the terminal: one line, with the time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from limner.engine.train import Progress

EVERY_SECONDS = 0.5
EVERY_SECONDS_IN_A_LOG = 15.0


def show() -> Callable[[Progress], None]:
    """A watcher that rewrites one line on a terminal, and now and then adds one to a log."""
    live = sys.stderr.isatty()
    said = [0.0]

    def watch(progress: Progress) -> None:
        now = time.monotonic()
        last = progress.last
        if now - said[0] < (EVERY_SECONDS if live else EVERY_SECONDS_IN_A_LOG) and not last:
            return
        said[0] = now
        losses = "  ".join(f"{name} {value:.4f}" for name, value in progress.losses.items())
        line = f"{progress.done}/{progress.total}  {losses}  {_span(progress.eta)} left"
        end = "\n" if last or not live else ""
        print(f"\r{line:<100}" if live else line, end=end, file=sys.stderr, flush=True)

    return watch


class Line:
    """A line that is written anew now and then, on a terminal in place."""

    def __init__(self) -> None:
        self.live, self.said = sys.stderr.isatty(), 0.0

    def show(self, text: str) -> None:
        now = time.monotonic()
        if now - self.said >= (EVERY_SECONDS if self.live else EVERY_SECONDS_IN_A_LOG):
            self.said = now
            print(f"\r{text:<100}" if self.live else text, end="" if self.live else "\n", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self.live:
            print(file=sys.stderr)


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
