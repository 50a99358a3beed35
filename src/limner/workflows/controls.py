"""Wishes of people for a workflow that is running: pause it, stop it, paint samples, save a state."""

from __future__ import annotations

import threading

from limner.errors import UnknownName

PAUSE, STOP, SAMPLE, SAVE = WISHES = ("pause", "stop", "sample", "save")


class Controls:
    """Carries wishes from any thread to the one that runs a workflow, which grants each at its next opportunity.

    pause: training writes its checkpoint, the event `Paused` follows, and the iterator ends; the same request with
        `resume` goes on to the same bits. Other work ends after its current batch of pictures.
    stop: training ends, the concept of now is kept, and scores, previews and checks follow. Other work ends after its
        current batch of pictures.
    sample: pictures are painted with the weights learned so far, at once.
    save: a concept of this moment is written beside the run's page.

    >>> controls = Controls()
    >>> controls.ask("sample")
    >>> controls.take("sample"), controls.take("sample")
    (True, False)
    """

    def __init__(self) -> None:
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
