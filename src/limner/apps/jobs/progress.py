"""The progress of a running job, and which of its events are recorded: not every update of a training."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from limner.workflows import events as ev

SECONDS = 0.5
"""Seconds between two transactions of a job that only trains."""
UPDATES = 200
"""Updates of a training that are recorded as events, about; more where it lasts long."""
LONGEST = 5.0
"""Seconds after which an update is recorded anyway."""


class Progress:
    """Collects events for the next transaction, and the state of the work so far."""

    def __init__(self, before: Mapping[str, Any]) -> None:
        self.values: dict[str, Any] = {name: value for name, value in before.items() if name != "choice"}
        self.skip = int(before.get("skip", 0))  # pictures of a job to paint that are stored
        self._events: list[dict[str, Any]] = []
        self._written = 0.0
        self._update = (0, 0.0)  # number and time of the last update that was recorded

    @property
    def is_due(self) -> bool:
        """Whether something is to be written now."""
        return time.monotonic() - self._written > SECONDS

    def take(self, event: ev.Event, shown: dict[str, Any], num_pictures: int) -> None:
        """Note an event; `shown` is its record."""
        match event:
            case ev.UpdateDone():
                self.values |= {name: shown[name] for name in ("done", "total", "stage", "losses", "eta")}
                if not self._is_worth_it(event):
                    return
            case ev.WeightsUpdateDone():
                self.values |= {name: shown[name] for name in ("done", "total", "losses", "eta")}
                if not self._is_worth_it(event):
                    return
            case ev.FleetUpdateDone():
                names = ("done", "learning", "waiting", "loss")
                total = event.done + event.learning + event.waiting
                self.values |= {**{name: shown[name] for name in names}, "total": total}
                if time.monotonic() - self._update[1] < LONGEST:
                    return
                self._update = event.done, time.monotonic()
            case ev.PictureSaved():
                self.values |= {"done": num_pictures, "skip": num_pictures}
            case ev.Message() | ev.Note():  # in the record, paths of this machine are cut
                self.values["text"] = str(shown["text"])[:300]
            case ev.StateSaved():
                # named here until the concept is there: an interrupted job finds its states again
                state = {"done": event.done, "sha256": shown["sha256"]}
                before = [each for each in self.values.get("states", ()) if each["done"] != event.done]
                self.values["states"] = [*before, state]
            case ev.ConceptSaved():
                self.values |= {"eta": 0.0}
        self._events.append(shown)

    def ask(self, question: dict[str, Any]) -> None:
        """Note that a person is to choose among pictures: the event "choice_needed"."""
        self.values["choice"] = {name: question[name] for name in ("folder", "keep", "pictures")}
        self._events.append(question)

    def end(self, state: str) -> None:
        """Drop the values that say nothing once the job is in this state."""
        self.values.pop("text", None)
        if state in ("done", "cancelled"):
            self.values.pop("states", None)
            self.values.pop("chosen", None)

    def events(self) -> list[dict[str, Any]]:
        """Take the events that wait to be written."""
        events, self._events = self._events, []
        self._written = time.monotonic()
        return events

    def put_back(self, events: list[dict[str, Any]]) -> None:
        """Events that could not be written."""
        self._events = events + self._events

    def _is_worth_it(self, event: ev.UpdateDone | ev.WeightsUpdateDone) -> bool:
        number, moment = self._update
        step = max(1, event.total // UPDATES)
        worth = event.done in (1, event.total) or event.last or abs(event.done - number) >= step
        if worth or time.monotonic() - moment > LONGEST:
            self._update = event.done, time.monotonic()
            return True
        return False
