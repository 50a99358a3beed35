"""The queue that gathers orders: which orders share a batch, and in which order users get their turns."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from limner.apps.jobs.counters import Histogram
from limner.apps.jobs.gather import Busy, PaintOrder, Waiting
from limner.apps.jobs.lease import Bases, Turns
from limner.errors import InputError
from limner.workflows.requests import BaseChoice


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def queue(clock: Clock, **more: Any) -> Waiting:
    about = {"most": 4, "window": 0.5, "longest": 10.0, "most_waiting": 100, "most_each": 50} | more
    return Waiting(clock=clock, **about)


def order(user: str, seed: int = 0, **more: Any) -> PaintOrder:
    return PaintOrder(prompt=f"a dog of {user}", user=user, seed=seed, **more)


def taken(waiting: Waiting) -> list[tuple[str, int]]:
    return [(ticket.order.user, ticket.order.seed) for ticket in waiting.take()]


def test_a_batch_has_one_order_of_each_user_before_second_ones(clock: Clock) -> None:
    waiting = queue(clock)
    for seed in range(6):
        waiting.add(order("ann", seed))
    waiting.add(order("bob"))
    waiting.add(order("cat"))
    assert taken(waiting) == [("ann", 0), ("bob", 0), ("cat", 0), ("ann", 1)]
    assert taken(waiting) == [("ann", 2), ("ann", 3), ("ann", 4), ("ann", 5)]
    assert taken(waiting) == []


def test_orders_of_other_settings_are_not_in_the_batch_and_get_their_turn(clock: Clock) -> None:
    waiting = queue(clock)
    for seed in range(8):
        waiting.add(order("ann", seed))
    waiting.add(order("bob", steps=30))
    waiting.add(order("cat"))
    assert taken(waiting) == [("ann", 0), ("cat", 0), ("ann", 1), ("ann", 2)]
    assert taken(waiting) == [("bob", 0)]
    assert len(waiting) == 5


def test_the_settings_that_keep_orders_apart(clock: Clock) -> None:
    plain = order("ann")
    assert plain.settings_key == order("bob", 7, scale=0.5).settings_key
    others: dict[str, Any] = {
        "steps": 3,
        "guidance": 1.0,
        "sampler": "euler",
        "negative": "blue",
        "size": 64,
        "regions": {"a": "left"},
    }
    others |= {"base": BaseChoice(name="pocket"), "subject_from": 0.2, "guide_between": (0.1, 1.0), "any_base": True}
    keys = {order("bob", **{name: value}).settings_key for name, value in others.items()}
    assert len(keys) == len(others)
    assert plain.settings_key not in keys


def test_nobody_starves_behind_users_with_many_orders(clock: Clock) -> None:
    """Twenty users order all the time; the settings of one are rare."""
    waiting = queue(clock, longest=5.0)
    waiting.add(order("rare", steps=30))
    for user in range(20):
        waiting.add(order(f"u{user}"))
    batches: list[list[str]] = []
    while not batches or "rare" not in batches[-1]:
        assert len(batches) < 6
        clock.now += 1.0
        batches.append([user for user, _ in taken(waiting)])
        for name in batches[-1]:
            waiting.add(order(name))


def test_an_order_that_waited_longest_leads_whoevers_turn_it_is(clock: Clock) -> None:
    waiting = queue(clock, longest=5.0)
    waiting.add(order("ann", 0))
    waiting.add(order("bob", 0, steps=30))
    clock.now = 1.0
    waiting.add(order("ann", 1, steps=40))
    assert taken(waiting) == [("ann", 0)]
    clock.now = 2.0
    waiting.add(order("cat", 0, steps=50))
    assert taken(waiting) == [("bob", 0)]
    clock.now = 6.5
    waiting.add(order("bob", 1, steps=60))
    assert taken(waiting) == [("ann", 1)]


def test_a_batch_starts_when_full_or_after_the_window(clock: Clock) -> None:
    waiting = queue(clock)
    assert waiting.seconds_to_go() is None
    for seed in range(3):
        waiting.add(order("ann", seed))
        clock.now += 0.1
    assert waiting.seconds_to_go() == pytest.approx(0.2)
    waiting.add(order("bob", steps=30))
    assert waiting.seconds_to_go() == pytest.approx(0.2)
    waiting.add(order("bob"))
    assert waiting.seconds_to_go() == 0.0
    waiting.take()
    clock.now += 1.0
    assert waiting.seconds_to_go() == 0.0


def test_a_full_queue_refuses_with_the_time_to_wait_and_cancelled_orders_leave_room(clock: Clock) -> None:
    waiting = queue(clock, most_waiting=3, most_each=2)
    first = waiting.add(order("ann"))
    waiting.add(order("ann"))
    with pytest.raises(Busy, match="2 of your pictures wait already"):
        waiting.add(order("ann"))
    waiting.add(order("bob"))
    with pytest.raises(Busy, match="3 pictures wait already") as caught:
        waiting.add(order("cat"), seconds_each=8.0)
    assert caught.value.retry_after == 6.0
    assert first.future.cancel()
    waiting.add(order("cat", 9))
    assert taken(waiting) == [("ann", 0), ("bob", 0), ("cat", 9)]


def test_threads_have_the_lease_in_the_order_of_asking() -> None:
    turns, seen, asked = Turns(), list[str](), threading.Event()

    def work(name: str) -> None:
        asked.set()
        with turns, turns:
            seen.append(name)

    threads = []
    with turns:
        for name in "abc":
            asked.clear()
            threads.append(threading.Thread(target=work, args=(name,)))
            threads[-1].start()
            asked.wait()
            while len(turns._waiting) < len(threads):
                pass
        turns.give_way()
        seen.append("main")
    for thread in threads:
        thread.join()
    assert seen == ["a", "b", "c", "main"]


def test_a_base_is_opened_once_and_used_under_the_lease_only() -> None:
    opened: list[str] = []
    bases = Bases(lambda choice: (opened.append(choice.name), object())[1], most=2)
    with bases.held() as open_base:
        first = open_base(BaseChoice(name="a"))
        assert open_base(BaseChoice(name="a", offload=True)) is first  # a way to save memory is no other base
        open_base(BaseChoice(name="b"))
        open_base(BaseChoice(name="a"))
        open_base(BaseChoice(name="c"))
        assert open_base(BaseChoice(name="a")) is first
        open_base(BaseChoice(name="b"))
    assert opened == ["a", "b", "c", "b"]
    with pytest.raises(InputError, match="while the lease is held"):
        open_base(BaseChoice(name="a"))


def test_a_histogram_counts_values_by_their_upper_bounds() -> None:
    times = Histogram(bounds=(1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 9.0):
        times.add(value)
    assert (times.counts, times.total, times.count) == ([2, 1, 1], 12.0, 4)
