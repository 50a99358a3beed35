"""Stopping politely: between two updates, never within one; and saying what is kept."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """While inside, the first Ctrl-C or polite kill only sets what the given function tells; a second one acts at once.

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
    """While inside, Ctrl-C is a `KeyboardInterrupt` in the end, also where a library catches it and raises an error of
    its own: what reads weights calls a file damaged that it was interrupted over."""
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
    """While inside, a polite kill is a `KeyboardInterrupt`, so that what was begun (processes, files) is ended with
    it."""
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


# ----------------------------------------------------------------------------------------------- what an interrupt says

AGAIN = "no file is half written; the same command begins anew"
_standing: list[Callable[[], str]] = []


def standing(describe: Callable[[], str] = lambda: AGAIN) -> None:
    """From here on, an interrupted command says what `describe` finds then: which files are there, and how to go on
    from them."""
    _standing[:] = [describe]


def interrupted() -> str:
    """The line that an interrupted command ends with."""
    return f"interrupted; {_standing[0]() if _standing else AGAIN}"
