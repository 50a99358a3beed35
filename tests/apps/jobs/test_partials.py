"""Partial pictures are decoded from the clean latents of their steps, once each, and never stop a painting."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image

import limner
from limner.apps.jobs.partials import Partials, Watcher, partial_steps
from limner.core.pixels import to_images
from limner.engine.attach import attach
from limner.engine.sample import decoded, sample


@pytest.mark.parametrize(("first", "total"), [(0, 1), (0, 2), (0, 4), (3, 10), (7, 25), (0, 50)])
def test_steps_are_spread_and_leave_out_the_last(first: int, total: int) -> None:
    for count in range(1, 4):
        steps = partial_steps(first, total, count)
        assert len(set(steps)) == len(steps) == min(count, total - first - 1)
        assert all(first <= step < total - 1 for step in steps)


def test_each_row_gets_its_own_clean_latents_decoded(base: Any) -> None:
    sent: dict[int, list[tuple[int, bytes]]] = {0: [], 1: []}

    def take(row: int) -> Partials:
        return Partials(2 - row, lambda number, image: sent[row].append((number, image.tobytes())))

    watcher = Watcher(base, {0: take(0), 1: take(1)})
    with torch.no_grad(), attach(base, []) as adapted:
        about: Any = {"seeds": [1, 2, 3], "settings": limner.PaintSettings(steps=6)}
        steps = list(sample(adapted, ["a dog", "a red car", "a boat"], **about))
        for at in [*steps, *steps]:  # a second candidate, or the batch once more
            watcher(at, [0, 2, 1])
        clean = [[to_images(decoded(base, at.clean()[k : k + 1]))[0].tobytes() for k in range(3)] for at in steps]
    assert sent[0] == [(0, clean[1][0]), (1, clean[3][0])]
    assert sent[1] == [(0, clean[2][2])]


def test_a_partial_picture_that_fails_leaves_the_painting_alone(base: Any) -> None:
    def fail(number: int, image: Image.Image) -> None:
        raise ConnectionError("the client is gone")

    watcher = Watcher(base, {0: Partials(1, fail)})
    with torch.no_grad(), attach(base, []) as adapted:
        steps = list(sample(adapted, ["a dog"], seeds=[1], settings=limner.PaintSettings(steps=2)))
        for at in [*steps, replace(steps[0], step=0)]:
            watcher(at, [0])
