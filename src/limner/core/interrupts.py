"""Interrupting a run between two updates, never within one, and telling the user which files remain."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


@contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """While inside, the first SIGINT (Ctrl-C) or SIGTERM only makes the yielded function return True; a second one
    raises `KeyboardInterrupt` at once.

    Outside the main thread, where signals cannot be caught, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    asked: list[int] = []

    def ask(number: int, _: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def listening() -> Iterator[None]:
    """While inside, Ctrl-C ends in a `KeyboardInterrupt`, also where a library catches it and raises an error of its
    own: loaders of weights report a damaged file when they are interrupted."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is not signal.default_int_handler:
        yield
        return
    heard: list[int] = []

    def hear(number: int, frame: object) -> None:
        heard.append(number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, hear)
    try:
        yield
    except Exception as error:
        if heard:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def ending() -> Iterator[None]:
    """While inside, SIGTERM raises `KeyboardInterrupt`, so that child processes and temporary files are cleaned up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


# ------------------------------------------------------------------------------------------------ breaks of long work


class TrainingPaused(Exception):
    """A run ended before its end because a pause was asked for; the same request with `resume` goes on. The checkpoint
    of a training that had begun is in the run's folder."""


_at_break: ContextVar[Callable[[bool], object] | None] = ContextVar("_at_break", default=None)


@contextmanager
def breaking(call: Callable[[bool], object]) -> Iterator[None]:
    """While inside, sampling and other long work of this thread calls `call` between its steps (`take_break`). An
    exception that it raises ends the work. Its argument says whether the base is as without adapters at that moment, so
    that other threads may use it meanwhile."""
    token = _at_break.set(call)
    try:
        yield
    finally:
        _at_break.reset(token)


def take_break(*, is_base_free: bool = False) -> None:
    """Let the function of `breaking`, where there is one, pause the work, or lend the base to other threads.

    is_base_free: whether no adapter is attached to the base, or those attached are suspended
    """
    call = _at_break.get()
    if call is not None:
        call(is_base_free)


# ----------------------------------------------------------------------------------------- the message of an interrupt

AGAIN = "no file is half written; the same command begins anew"
_standing: list[Callable[[], str]] = []


def standing(describe: Callable[[], str] = lambda: AGAIN) -> None:
    """Set the message of an interrupt: `describe` is called when one happens, and returns which files exist and how to
    go on from them."""
    _standing[:] = [describe]


def interrupted() -> str:
    """The last line of an interrupted command's output."""
    return f"interrupted; {_standing[0]() if _standing else AGAIN}"
