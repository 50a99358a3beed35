"""One thread that paints for all users: it holds the bases, and gathers orders into batches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from limner.core.memory import return_memory

from .counters import Counters
from .gather import Busy, Closed, Painted, PaintOrder, Ticket, Waiting
from .lease import Bases

if TYPE_CHECKING:
    from concurrent.futures import Future

    from limner.library.concepts import Concepts
    from limner.workflows.requests import BaseChoice

    from .paint_batch import Outcome
    from .partials import Partials

RETURN_SECONDS = 60.0
"""Seconds after which memory that nothing uses is returned to the system."""


class Painter:
    """Paints orders of many users, each row of a batch with its own user's concept.

        painter = Painter()
        future = painter.submit(PaintOrder(prompt="<rex> on the beach", concept=path, user=user_id, seed=7))
        future.result().image

    Nothing heavy is imported, and no base is opened, before the first order. An order can be cancelled while it waits
    (`future.cancel()`). An error of an order is raised by its future's `result`, and by no other's.

    Args:
        open_base: opens the base of a choice; None: `workflows.opening.open_base`.
        window: seconds for which a batch that is not full waits for more orders.
        most: pictures in a batch. A batch that does not fit into the memory is halved until it does.
        hot_bytes: bytes of concepts that stay in memory.
        longest: seconds after which an order no longer waits for other users' turns.
        most_waiting: orders of all users in the queue.
        most_each: orders of one user in the queue.
        bases: number of bases that stay open.
    """

    def __init__(
        self,
        *,
        open_base: Callable[[BaseChoice], Any] | None = None,
        window: float = 0.005,
        most: int = 8,
        hot_bytes: int = 2**30,
        longest: float = 30.0,
        most_waiting: int = 256,
        most_each: int = 64,
        bases: int = 2,
    ) -> None:
        self.counters = Counters()
        self.bases = Bases(open_base, most=bases)
        self.waiting = Waiting(
            most=most, window=window, longest=longest, most_waiting=most_waiting, most_each=most_each
        )
        self.hot_bytes = hot_bytes
        self.hot: Concepts | None = None  # concepts in memory, from the first batch on
        self._thread: threading.Thread | None = None
        self._closing = False
        self._returned = 0.0  # when memory was returned for the last time
        self._seconds_each = 1.0  # for the last pictures: a moving average

    def __enter__(self) -> Painter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---------------------------------------------------------------------------------------------------------- orders

    def submit(self, order: PaintOrder, *, partials: Partials | None = None) -> Future[Painted]:
        """Order a picture, and perhaps partial pictures while it is painted. Raises `Busy`, with the seconds to wait,
        where the queue is full, and `Closed` after `close`."""
        with self.waiting.changed:
            if self._closing:
                raise Closed("the painter is closing: order again once the server is up")
            try:
                ticket = self.waiting.add(order, seconds_each=self._seconds_each, partials=partials)
            except Busy:
                self.counters.refused += 1
                raise
            self.counters.orders += 1
            ticket.future.add_done_callback(self._count_cancelled)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="painter", daemon=True)
                self._thread.start()
        return ticket.future

    @property
    def num_waiting(self) -> int:
        """Orders in the queue."""
        return len(self.waiting)

    @property
    def cache(self) -> dict[str, int]:
        """The concepts in memory: hits and misses so far, their number and bytes."""
        if self.hot is None:
            return {"hits": 0, "misses": 0, "concepts": 0, "bytes": 0}
        recent = self.hot.recent
        return {"hits": self.hot.hits, "misses": self.hot.misses, "concepts": len(recent), "bytes": recent.num_bytes}

    # ----------------------------------------------------------------------------------------------------------- bases

    def lease(self) -> AbstractContextManager[Callable[[BaseChoice], Any]]:
        """The right to use the painter's bases for other work, such as training: painting waits until its end, and
        begins after the batch that is being painted. Yields a function for a workflow's `open_base`.

            with painter.lease() as open_base:
                for event in run(request, open_base=open_base): ...

        Other work lets waiting orders through by `bases.turns.give_way()`, with none of its adapters in effect.
        """
        return self.bases.held()

    # ------------------------------------------------------------------------------------------------------ the thread

    def close(self, *, finish: bool = True, timeout: float | None = None) -> None:
        """Take no more orders. `finish` paints those that wait; otherwise they fail with `Closed`. Returns when the
        thread has ended, or after `timeout` seconds, after which orders that still wait fail."""
        with self.waiting.changed:
            self._closing = True
            self.waiting.changed.notify_all()
        if not finish:
            self._refuse_waiting()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)
        self._refuse_waiting()

    def _refuse_waiting(self) -> None:
        for ticket in self.waiting.empty():
            if ticket.future.set_running_or_notify_cancel():
                self.counters.failed += 1
                ticket.future.set_exception(Closed("the server was shut down before this picture was painted"))

    def _count_cancelled(self, future: Future[Painted]) -> None:
        if future.cancelled():
            self.counters.cancelled += 1

    def _run(self) -> None:
        while self._wait_for_orders():
            with self.bases.held() as open_base:
                # more orders may have come while another thread had the lease
                tickets = self.waiting.take()
                if tickets:
                    self._paint(tickets, open_base)
                if self.waiting.clock() - self._returned > RETURN_SECONDS:
                    self._returned = self.waiting.clock()
                    return_memory()

    def _wait_for_orders(self) -> bool:
        """Wait until a batch should start; False once there is nothing left to paint and the painter is closing."""
        with self.waiting.changed:
            while (seconds := self.waiting.seconds_to_go()) != 0:
                if self._closing:
                    return seconds is not None
                self.waiting.changed.wait(seconds)
        return True

    def _paint(self, tickets: list[Ticket], open_base: Callable[[BaseChoice], Any]) -> None:
        began = self.waiting.clock()
        for ticket in tickets:
            self.counters.waiting.add(began - ticket.arrived)
        try:
            for outcome in self._outcomes(tickets, open_base):
                self._answer(tickets[outcome.number], outcome, began)
        except Exception as error:  # the thread goes on, whatever happens
            for ticket in tickets:
                if not ticket.future.done():
                    self.counters.failed += 1
                    ticket.future.set_exception(error)
        seconds = self.waiting.clock() - began
        self.counters.add_batch(len(tickets), seconds)
        self._seconds_each += 0.2 * (seconds / len(tickets) - self._seconds_each)

    def _outcomes(self, tickets: list[Ticket], open_base: Callable[[BaseChoice], Any]) -> Iterator[Outcome]:
        from limner.library.concepts import Concepts

        from .paint_batch import paint_batch

        if self.hot is None:
            self.hot = Concepts(limit_bytes=self.hot_bytes)
        orders = [ticket.order for ticket in tickets]
        partials = {number: ticket.partials for number, ticket in enumerate(tickets) if ticket.partials is not None}
        return paint_batch(orders, open_base=open_base, hot=self.hot, most=self.waiting.most, partials=partials)

    def _answer(self, ticket: Ticket, outcome: Outcome, began: float) -> None:
        if isinstance(outcome.result, Exception):
            self.counters.failed += 1
            ticket.future.set_exception(outcome.result)
        else:
            self.counters.painted += 1
            seconds = self.waiting.clock() - began
            ticket.future.set_result(Painted(outcome.result, began - ticket.arrived, seconds, outcome.rows))


__all__ = ["Busy", "Closed", "Counters", "PaintOrder", "Painted", "Painter"]
