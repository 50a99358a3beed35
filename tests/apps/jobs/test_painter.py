"""Pictures that many users order at once: each is the one its user would get alone."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import limner
from limner.apps.jobs.gather import Busy, Closed, Painted, PaintOrder
from limner.apps.jobs.painter import Painter
from limner.errors import InputError, PromptError
from limner.pocket.subjects import toy
from limner.workflows.requests import BaseChoice
from tests.helpers import untouched

FEW: dict[str, Any] = {"steps": 2, "batch": 1}
TAUGHT: dict[str, tuple[str, dict[str, Any]]] = {
    "ann": ("lora_dreambooth", FEW | {"num_class_pictures": 2, "rank": 2, "lr": 0.02}),
    "bob": ("textual_inversion", FEW | {"vectors": 2, "lr": 0.05}),
    "cat": ("custom_diffusion", FEW | {"num_class_pictures": 2, "lr": 0.02}),
    "dan": ("stylealigned", {}),
}
"""User -> the method and settings of the user's concept; the handle of each is <rex>."""
STEPS = 3


@pytest.fixture(scope="module")
def files(base: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("concepts")
    concepts = {
        user: limner.learn(base, toy("dog", 2_000_050 + k, name="rex", count=1), method=method, **settings)
        for k, (user, (method, settings)) in enumerate(TAUGHT.items())
    }
    return {user: concept.save(folder / f"{user}.safetensors") for user, concept in concepts.items()}


@pytest.fixture
def painter(base: Any) -> Iterator[Painter]:
    with Painter(open_base=lambda choice: base, window=0.2) as painter:
        yield painter


@pytest.fixture
def order(files: dict[str, Path]) -> Callable[..., PaintOrder]:
    def made(user: str, seed: int = 0, **more: Any) -> PaintOrder:
        about = {"prompt": "<rex> on the beach", "concept": files.get(user), "steps": STEPS} | more
        return PaintOrder(user=user, seed=seed, **about)

    return made


def alone(base: Any, order: PaintOrder) -> Any:
    settings = limner.PaintSettings(order.steps, order.guidance, negative=order.negative)
    concepts, scales = [path for path, _ in order.concepts], [scale for _, scale in order.concepts]
    about: dict[str, Any] = {"concepts": concepts, "scale": scales or 1.0, "seed": order.seed, "settings": settings}
    return limner.paint(base, order.prompt, **about)[0].image


def far(first: Any, second: Any) -> int:
    """The largest difference of two pictures, in levels from 0 to 255."""
    return int(np.abs(np.asarray(first, dtype=int) - np.asarray(second, dtype=int)).max())


def results(futures: list[Future[Painted]]) -> list[Painted]:
    return [future.result(timeout=60) for future in futures]


def test_users_with_one_handle_get_the_pictures_of_their_own_concepts(
    base: Any, painter: Painter, order: Callable[..., PaintOrder]
) -> None:
    """Four kinds of concepts that all answer to <rex>, and a row of the base alone, in one batch."""
    orders = [order("ann", 1), order("bob", 1), order("cat", 1), order("ann", 1, scale=0.5), order("dan", 1)]
    orders.append(order("eve", 1, prompt="a dog on the beach"))
    painted = results([painter.submit(each) for each in orders])
    for each, own in zip(orders, painted, strict=True):
        assert far(own.image, alone(base, each)) <= 1, each.user
    assert [own.rows for own in painted] == [5, 5, 5, 5, 1, 5]  # dan's method acts while painting
    assert len({own.image.tobytes() for own in painted}) == len(orders)
    assert all(own.seed == 1 and own.waited >= 0 and own.painting > 0 for own in painted)
    assert (painter.counters.batches, painter.counters.rows, painter.counters.painted) == (1, {6: 1}, 6)
    assert untouched(base)


def test_an_error_stays_with_its_order(
    base: Any, painter: Painter, order: Callable[..., PaintOrder], files: dict[str, Path], tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(files["ann"].read_bytes()[:-50])
    bad = {
        "no concept answers": order("bob", prompt="<max> on the beach"),
        "the file is damaged": order("bob", concept=damaged),
        "the file is missing": order("bob", concept=tmp_path / "none.safetensors"),
        "the scale": order("bob", scale=99.0),
        "too long, which only the text encoder finds": order("bob", prompt="<rex> " + "on the beach " * 60),
    }
    good = [order("ann", 2), order("bob", 2)]
    futures = [painter.submit(each) for each in (good[0], *bad.values(), good[1])]
    first, *errors, last = futures
    for own, each in zip(results([first, last]), good, strict=True):
        assert far(own.image, alone(base, each)) <= 1
    for future, what in zip(errors, bad, strict=True):
        assert isinstance(future.exception(timeout=60), limner.errors.LimnerError), what
    assert isinstance(errors[0].exception(), PromptError)
    assert (painter.counters.painted, painter.counters.failed) == (2, 5)


def test_other_kinds_of_orders_are_painted_as_alone(
    base: Any, painter: Painter, order: Callable[..., PaintOrder], files: dict[str, Path], tmp_path: Path
) -> None:
    """Two concepts in one picture, a handle in the negative prompt, and a canvas with a mask."""
    onto, where = tmp_path / "onto.png", tmp_path / "where.png"
    Image.new("RGB", (160, 128), "green").save(onto)
    mask = Image.new("L", (160, 128), 0)
    mask.paste(255, (40, 30, 100, 100))
    mask.save(where)
    both = order("ann", 3, further=((files["dan"], 1.0),))
    with pytest.raises(PromptError, match="two concepts answer to one handle"):
        painter.submit(both).result(timeout=60)
    negative = [order("ann", seed, negative="<rex>", prompt="a car") for seed in (3, 4)]
    canvas = order("ann", 3, onto=onto, where=where)
    futures = [painter.submit(each) for each in (*negative, canvas)]
    one, two, three = results(futures)
    assert [one.rows, two.rows, three.rows] == [2, 2, 1]
    assert far(one.image, alone(base, negative[0])) <= 1
    assert far(two.image, alone(base, negative[1])) <= 1
    assert three.image.size == (160, 128)
    outside = np.asarray(mask) == 0
    assert (np.asarray(three.image)[outside] == np.asarray(Image.open(onto))[outside]).all()
    with pytest.raises(InputError, match="128 x 128 pixels, not of 256"):
        painter.submit(order("ann", size=256)).result(timeout=60)


def test_an_order_can_be_cancelled_and_a_full_queue_refuses(base: Any, order: Callable[..., PaintOrder]) -> None:
    with Painter(open_base=lambda choice: base, most_waiting=2, window=0.0) as painter:
        with painter.lease():
            first = painter.submit(order("ann"))
            second = painter.submit(order("bob"))
            with pytest.raises(Busy):
                painter.submit(order("cat"))
            assert second.cancel()
            third = painter.submit(order("cat", prompt="a dog", concept=None, steps=1))
            assert not first.done()  # painting waits for the lease
        assert first.result(timeout=60).image
        assert third.result(timeout=60).image
    assert second.cancelled()
    counters = painter.counters
    assert (counters.orders, counters.painted, counters.cancelled, counters.refused) == (4 - 1, 2, 1, 1)


def test_other_work_that_gives_way_lets_orders_through(base: Any, order: Callable[..., PaintOrder]) -> None:
    opened: list[BaseChoice] = []
    with Painter(open_base=lambda choice: (opened.append(choice), base)[1], window=0.0) as painter:
        with painter.lease() as open_base:
            assert open_base(BaseChoice()) is base
            future = painter.submit(order("eve", prompt="a dog", steps=1))
            while not future.done():
                painter.bases.turns.give_way()
        assert future.result().rows == 1
    assert len(opened) == 1


def test_closing_finishes_or_refuses(base: Any, order: Callable[..., PaintOrder]) -> None:
    for finish in (True, False):
        painter = Painter(open_base=lambda choice: base, window=30.0)
        future = painter.submit(order("eve", prompt="a dog", steps=1))
        painter.close(finish=finish)
        assert future.done()
        assert isinstance(future.exception(), Closed) is not finish
        with pytest.raises(Closed, match="order again"):
            painter.submit(order("eve"))


def test_concepts_stay_in_memory(base: Any, order: Callable[..., PaintOrder], painter: Painter) -> None:
    assert painter.cache["hits"] == 0
    for seed in range(2):
        results([painter.submit(order("ann", seed, steps=1)), painter.submit(order("bob", seed, steps=1))])
    cache = painter.cache
    assert (cache["hits"], cache["misses"], cache["concepts"]) == (2, 2, 2)
    assert cache["bytes"] > 10_000


def test_a_base_that_cannot_be_opened_fails_its_orders_alone(base: Any, order: Callable[..., PaintOrder]) -> None:
    def open_base(choice: BaseChoice) -> Any:
        if choice.name == "gone":
            raise InputError("no such base")
        return base

    with Painter(open_base=open_base, window=0.1) as painter:
        plain = order("eve", prompt="a dog", steps=1)
        futures = [painter.submit(replace(plain, base=BaseChoice(name="gone"))), painter.submit(plain)]
        assert isinstance(futures[0].exception(timeout=60), InputError)
        assert futures[1].result(timeout=60).image


def test_a_batch_that_does_not_fit_is_halved(
    base: Any, order: Callable[..., PaintOrder], painter: Painter, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from limner.apps.jobs import paint_batch

    real, sizes = limner.paint_many, list[int]()

    def narrow(base: Any, orders: Any, **more: Any) -> Any:
        sizes.append(len(orders))
        if len(orders) > 2:
            raise torch.OutOfMemoryError("too many")
        return real(base, orders, **more)

    monkeypatch.setattr(paint_batch, "paint_many", narrow)
    orders = [order("eve", seed, prompt="a dog", steps=1) for seed in range(4)]
    assert [own.rows for own in results([painter.submit(each) for each in orders])] == [2] * 4
    assert sizes == [4, 2, 2]


def test_the_module_is_light_and_threads_may_order_at_once(base: Any, order: Callable[..., PaintOrder]) -> None:
    code = "import sys, limner.apps.jobs.painter; assert not {'torch', 'numpy', 'PIL', 'diffusers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    with Painter(open_base=lambda choice: base, most=4, window=0.05) as painter:
        futures: dict[int, Future[Painted]] = {}

        def send(k: int) -> None:
            futures[k] = painter.submit(order(f"u{k}", k, prompt="a dog", concept=None, steps=1))

        threads = [threading.Thread(target=send, args=(k,)) for k in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [futures[k].result(timeout=60).seed for k in range(8)] == list(range(8))
        assert sum(n * count for n, count in painter.counters.rows.items()) == 8
