"""The bases that a process has open, and the right to use them, which one thread has at a time."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from limner.errors import InputError

if TYPE_CHECKING:
    from limner.workflows.requests import BaseChoice

HANDED = -1
"""Owner of a lock that was handed to a thread which has not woken up yet."""


class Turns:
    """A lock that threads get in the order in which they ask. The thread that has it may take it again."""

    def __init__(self) -> None:
        self._guard, self._waiting = threading.Lock(), deque[threading.Event]()
        self._owner: int | None = None
        self._depth = 0

    def __enter__(self) -> Turns:
        me, mine = threading.get_ident(), threading.Event()
        with self._guard:
            if self._owner in (None, me):  # without an owner, nobody waits
                self._owner, self._depth = me, self._depth + 1
                return self
            self._waiting.append(mine)
        try:
            mine.wait()
        except BaseException:  # an interrupt: the turn goes to the next thread
            self._leave(mine)
            raise
        with self._guard:
            self._owner, self._depth = me, 1
        return self

    def __exit__(self, *_: object) -> None:
        with self._guard:
            self._depth -= 1
            if not self._depth:
                self._hand_on()

    def _hand_on(self) -> None:
        self._owner = HANDED if self._waiting else None
        if self._waiting:
            self._waiting.popleft().set()

    def _leave(self, event: threading.Event) -> None:
        with self._guard:
            if event in self._waiting:
                self._waiting.remove(event)
            else:
                self._hand_on()

    @property
    def mine(self) -> bool:
        return self._owner == threading.get_ident()

    @property
    def are_wanted(self) -> bool:
        """Whether another thread waits for its turn."""
        with self._guard:
            return bool(self._waiting)

    def give_way(self) -> None:
        """Let the threads that wait have their turns, and take the lock again behind them."""
        if not self.mine or self._depth != 1:
            raise InputError("a thread gives way only while it holds the lease once")
        self.__exit__()
        self.__enter__()


class Bases:
    """Opens each base once, and keeps the `most` bases used last.

    The lease is for one thread at a time, since a base with one thread's adapters attached cannot be used by another.
    """

    def __init__(self, open_base: Callable[[BaseChoice], Any] | None = None, *, most: int = 2) -> None:
        self.turns, self.most = Turns(), most
        self._open = open_base
        self._bases: OrderedDict[tuple[Any, ...], Any] = OrderedDict()

    @contextmanager
    def held(self) -> Iterator[Callable[[BaseChoice], Any]]:
        """Wait for the lease, and hold it inside of the `with`. Yields a function that returns the base of a choice,
        open, for use as a workflow's `open_base`."""
        with self.turns:
            yield self._base_of

    def _base_of(self, choice: BaseChoice) -> Any:
        if not self.turns.mine:
            raise InputError("a base is used only while the lease is held: inside of `with painter.lease()`")
        key = _key(choice)
        if key not in self._bases:
            while len(self._bases) >= self.most:
                self._bases.popitem(last=False)
            self._bases[key] = (self._open or _open_base)(choice)
        self._bases.move_to_end(key)
        return self._bases[key]


def _key(choice: BaseChoice) -> tuple[Any, ...]:
    """Equal for choices of one base. Ways to save memory are left out: a workflow plans them from the memory that is
    free, and there is less of it once the base is open, so that the same base would be opened again."""
    return choice.name, choice.device, choice.dtype, choice.quantise, choice.config, choice.faces


def _open_base(choice: BaseChoice) -> Any:
    from limner.workflows.opening import open_base

    return open_base(choice)
