"""Cases run one after another, each with a limit of time, and counted by how they end."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from limner.errors import LimnerError

SECONDS = 10.0
"""Seconds of processor time for a case; six times as many by the clock, since other work may use the processor."""
MEMORY = 2_000_000_000
"""Bytes that a case may add to those in use before it."""
Outcome: TypeAlias = Literal["equal", "accepted", "silent change"]
"""How an accepted input ends: as the whole one; with a meaning of its own, where nothing says what is right; or changed
unnoticed."""
Case: TypeAlias = Callable[[random.Random], Outcome]
AIMS = ("foreign exceptions", "silent changes", "hangs", "over 2 GB")
"""Counters whose aim is 0."""


class Hang(BaseException):
    """A case took longer than `SECONDS`."""


@dataclass
class Count:
    """How many inputs of a kind ended how."""

    inputs: int = 0
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("clear errors", "accepted equal", "accepted otherwise", *AIMS), 0)
    )
    examples: list[str] = field(default_factory=list)

    @property
    def record(self) -> dict[str, int]:
        return {"inputs": self.inputs, **self.counts}

    def add(self, counter: str, example: str = "") -> None:
        self.counts[counter] += 1
        if example and len(self.examples) < 20:
            self.examples.append(example)


def count(name: str, case: Case, inputs: int, *, seed: int = 0) -> Count:
    """Run a kind's cases; each is a function of the seed and its number alone, so that one can be run again."""
    found = Count()
    for number in range(inputs):
        run(found, case, f"{name} {seed} {number}")
    return found


def run(found: Count, case: Case, label: str) -> None:
    """One case, by its label."""
    found.inputs += 1
    before, began = _memory("VmRSS"), time.monotonic()
    _forget_peak()
    try:
        with warnings.catch_warnings(), _limited():
            warnings.simplefilter("ignore")
            outcome = case(random.Random(label))
        found.add(
            {"equal": "accepted equal", "accepted": "accepted otherwise", "silent change": "silent changes"}[outcome],
            label if outcome == "silent change" else "",
        )
    except LimnerError as error:
        found.add("clear errors")
        if not str(error).strip():
            found.add("foreign exceptions", f"{label}: an error that says nothing: {error!r}")
    except Hang:
        found.add("hangs", f"{label}: over {time.monotonic() - began:.0f} s")
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        found.add(
            "foreign exceptions",
            f"{label}: {type(error).__name__}: {str(error)[:200]} ({Path(where.filename).name}:{where.lineno})",
        )
    if _memory("VmHWM") - before > MEMORY:
        found.add("over 2 GB", f"{label}: {(_memory('VmHWM') - before) / 1e9:.1f} GB")


@contextmanager
def _limited() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Hang

    limits = ((signal.SIGPROF, signal.ITIMER_PROF, SECONDS), (signal.SIGALRM, signal.ITIMER_REAL, 6 * SECONDS))
    before = [signal.signal(which, stop) for which, _, _ in limits]
    for _, timer, seconds in limits:
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for (which, timer, _), handler in zip(limits, before, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(which, handler)


def _forget_peak() -> None:
    """Let the system count the most memory in use anew, where it can."""
    if sys.platform == "linux" and os.access("/proc/self/clear_refs", os.W_OK):
        Path("/proc/self/clear_refs").write_text("5")


def _memory(field: str) -> int:
    """Bytes in use now (VmRSS) or at most (VmHWM); 0 where the system does not say."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), 0)
