"""Wishes of people for a workflow that is running: pause it, stop it, paint samples, save a state."""

from __future__ import annotations

import threading
from typing import Protocol

from limner.errors import UnknownName

PAUSE, STOP, SAMPLE, SAVE = WISHES = ("pause", "stop", "sample", "save")


class Turns(Protocol):
    """The right to use a base, which one thread has at a time."""

    @property
    def are_wanted(self) -> bool:
        """Whether another thread waits for its turn."""

    def give_way(self) -> None:
        """Let the threads that wait have their turns, and return when it is this thread's turn again."""


class Controls:
    """Carries wishes from any thread to the one that runs a workflow, which grants each at its next opportunity.

    pause: training writes its checkpoint, the event `Paused` follows, and the iterator ends; the same request with
        `resume` goes on to the same bits. Class images before the first update, scores, previews and checks are left
        at once, and begin anew. Other work pauses after its current batch of pictures.
    stop: training ends, the concept learned so far is kept, and scores, previews and checks follow. Before the first
        update there is nothing to keep, which is an error. Other work ends after its current batch of pictures.
    sample: pictures are painted with the weights learned so far.
    save: a concept of this moment is written beside the run's page.

    With `turns`, the base is shared: where others wait for it, training lets them have it between two updates, and
    between the steps that follow training. No bit of the training changes.

    >>> controls = Controls()
    >>> controls.ask("sample")
    >>> controls.take("sample"), controls.take("sample")
    (True, False)
    """

    def __init__(self, turns: Turns | None = None) -> None:
        self.turns = turns
        self._lock = threading.Lock()
        self._wishes: set[str] = set()

    def ask(self, wish: str) -> None:
        """Ask for something. Raises `UnknownName` for a wish that does not exist."""
        if wish not in WISHES:
            raise UnknownName("wish", wish, WISHES)
        with self._lock:
            self._wishes.add(wish)

    def asked(self, wish: str) -> bool:
        """Whether something is asked for and not granted yet."""
        with self._lock:
            return wish in self._wishes

    def take(self, wish: str) -> bool:
        """Whether something is asked for; the wish counts as granted from now on."""
        with self._lock:
            there = wish in self._wishes
            self._wishes.discard(wish)
            return there

    @property
    def others_wait(self) -> bool:
        """Whether others wait for the base."""
        return self.turns is not None and self.turns.are_wanted

    def give_way(self) -> None:
        """Let others use the base now, where they wait for it. The caller has no adapter attached to the base, or has
        suspended those that are."""
        if self.turns is not None and self.turns.are_wanted:
            self.turns.give_way()
