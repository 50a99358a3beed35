"""Orders of pictures, and the queue that gathers those with equal settings into batches, fairly between users."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.errors import LimnerError
from limner.workflows.requests import ConceptChoice, PaintRequest, PictureChoices

if TYPE_CHECKING:
    from limner.core.picture import Picture

    from .partials import Partials


class Busy(LimnerError):
    """The queue is full. `retry_after` is the number of seconds after which there should be room."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Closed(LimnerError):
    """The painter is closing and takes no more orders."""


@dataclass(frozen=True, kw_only=True)
class PaintOrder(PictureChoices):
    """One picture that a user wants.

    Paths are those of files that the server wrote; nothing that a client names is opened.
    """

    prompt: str
    user: str = ""  # id of the user; users take turns
    concept: Path | None = None  # file of the concept; None: the base alone
    scale: float = 1.0
    further: tuple[tuple[Path, float], ...] = ()  # more concepts in the same picture: file, scale
    size: int = 0  # side of the picture in pixels; 0: the base's own, which is the only one it paints

    @property
    def concepts(self) -> tuple[tuple[Path, float], ...]:
        """Every concept of the picture: file, scale."""
        return ((self.concept, self.scale), *self.further) if self.concept is not None else self.further

    @cached_property
    def request(self) -> PaintRequest:
        """The order as a request for this one picture."""
        same: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(PictureChoices)}
        concepts = tuple(ConceptChoice(path=path) for path, _ in self.concepts)
        return PaintRequest(prompts=(self.prompt,), concepts=concepts, scale=tuple(s for _, s in self.concepts), **same)

    @cached_property
    def settings_key(self) -> str:
        """Equal for orders that one batch can paint, as far as their settings are concerned."""
        shared = replace(self.request, prompts=(), concepts=(), scale=(), seed=0)
        return f"{self.size} {shared.to_json()}"


@dataclass(frozen=True)
class Painted:
    """A picture that was ordered, and its times in seconds."""

    picture: Picture = field(repr=False)
    waited: float  # from the order to the start of its batch
    painting: float  # from the start of its batch to the picture
    rows: int  # pictures in its batch

    @property
    def image(self) -> Any:
        """The picture as a PIL image."""
        return self.picture.image

    @property
    def seed(self) -> int:
        return self.picture.seed


@dataclass(eq=False)
class Ticket:
    """An order in the queue."""

    order: PaintOrder
    arrived: float  # on the queue's clock
    partials: Partials | None = None  # partial pictures to send while it is painted
    future: Future[Painted] = field(default_factory=Future)


class Waiting:
    """The queue. Users take turns: the next batch is led by the oldest order of the user whose turn it is, and filled
    with orders of equal settings, one of each user at a time. An order that waited `longest` seconds leads the next
    batch, whoever's turn it is.

    Args:
        most: orders in a batch.
        window: seconds for which a batch that is not full waits for more orders.
        longest: seconds after which an order no longer waits for other users' turns.
        most_waiting: orders of all users together.
        most_each: orders of one user.
        clock: gives the time in seconds.
    """

    def __init__(
        self,
        *,
        most: int,
        window: float,
        longest: float,
        most_waiting: int,
        most_each: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.most, self.window, self.longest = most, window, longest
        self.most_waiting, self.most_each, self.clock = most_waiting, most_each, clock
        self.changed = threading.Condition()
        self._by_user: OrderedDict[str, deque[Ticket]] = OrderedDict()

    def __len__(self) -> int:
        with self.changed:
            return sum(len(tickets) for tickets in self._by_user.values())

    def add(self, order: PaintOrder, *, seconds_each: float = 1.0, partials: Partials | None = None) -> Ticket:
        """Put an order in the queue. Raises `Busy` where the queue, or this user's part of it, is full; `seconds_each`
        is the time that one picture takes, for its `retry_after`."""
        with self.changed:
            own = self._by_user.get(order.user, deque())
            if len(own) >= self.most_each or len(self) >= self.most_waiting:
                self._drop_cancelled()
                own = self._by_user.get(order.user, deque())
            number = len(self)
            if len(own) >= self.most_each:
                raise Busy(f"{len(own)} of your pictures wait already; order more when some are painted", seconds_each)
            if number >= self.most_waiting:
                raise Busy(f"{number} pictures wait already; order again later", max(1.0, number / 4 * seconds_each))
            ticket = Ticket(order, self.clock(), partials)
            self._by_user.setdefault(order.user, deque()).append(ticket)
            self.changed.notify_all()
            return ticket

    def seconds_to_go(self) -> float | None:
        """Seconds until a batch should start: 0 where it should start now, None where nothing waits."""
        with self.changed:
            lead = self._lead()
            if lead is None:
                return None
            if sum(1 for _ in self._like(lead)) >= self.most:
                return 0.0
            return max(0.0, lead.arrived + self.window - self.clock())

    def take(self) -> list[Ticket]:
        """Take the next batch out of the queue, without orders that were cancelled. Empty where nothing waits."""
        with self.changed:
            self._drop_cancelled()
            lead = self._lead()
            if lead is None:
                return []
            taken = self._in_turns(lead)
            for ticket in taken:
                self._by_user[ticket.order.user].remove(ticket)
            self._by_user.move_to_end(lead.order.user)
            self._drop_empty()
        return [ticket for ticket in taken if ticket.future.set_running_or_notify_cancel()]

    def empty(self) -> list[Ticket]:
        """Take everything out of the queue."""
        with self.changed:
            every = [ticket for tickets in self._by_user.values() for ticket in tickets]
            self._by_user.clear()
        return every

    def _lead(self) -> Ticket | None:
        heads = [tickets[0] for tickets in self._by_user.values() if tickets]
        if not heads:
            return None
        oldest = min(heads, key=lambda ticket: ticket.arrived)
        return oldest if self.clock() - oldest.arrived >= self.longest else heads[0]

    def _like(self, lead: Ticket) -> Iterator[Ticket]:
        """Tickets whose settings equal the lead's."""
        key = lead.order.settings_key
        for tickets in self._by_user.values():
            yield from (ticket for ticket in tickets if ticket.order.settings_key == key)

    def _in_turns(self, lead: Ticket) -> list[Ticket]:
        """The lead and the orders like it: the first of every user, then the second of every user, and so on."""
        own: OrderedDict[str, list[Ticket]] = OrderedDict({lead.order.user: [lead]})
        for ticket in self._like(lead):
            if ticket is not lead:
                own.setdefault(ticket.order.user, []).append(ticket)
        rounds = max(len(tickets) for tickets in own.values())
        every = [tickets[k] for k in range(rounds) for tickets in own.values() if k < len(tickets)]
        return every[: self.most]

    def _drop_cancelled(self) -> None:
        for user, tickets in self._by_user.items():
            self._by_user[user] = deque(ticket for ticket in tickets if not ticket.future.cancelled())
        self._drop_empty()

    def _drop_empty(self) -> None:
        for user in [user for user, tickets in self._by_user.items() if not tickets]:
            del self._by_user[user]
