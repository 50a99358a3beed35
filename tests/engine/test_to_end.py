"""Runs trained together until the last has ended."""

from __future__ import annotations

import torch

from limner.core.base import Base
from limner.core.recipe import Recipe, Stage
from limner.core.subject import Subject
from limner.engine.attach import Adapter
from limner.engine.checkpoint import Run
from limner.engine.stacked.to_end import train_to_end
from limner.parts.modifiers import low_rank, rare_word_and
from limner.parts.objectives import denoising
from limner.parts.parameters import learned
from limner.parts.sources import photos
from tests.helpers import same, state, untouched


def run(subject: Subject, handle: str, steps: int, lr: float = 1e-3) -> Run:
    change, loss = low_rank(2), denoising(photos(subject, batch=1))
    stage = Stage((learned(change),), (loss,), steps, lr)
    recipe = Recipe(rare_word_and(subject.noun, handle=handle), (change,), (stage,))
    own = Subject(handle, subject.noun, subject.pictures)
    return Run(own, recipe, Adapter(recipe, handle), "a test's recipe", {})


def test_runs_come_back_in_their_order_and_a_broken_one_is_left_out(base: Base, rex: Subject) -> None:
    before = state(base)
    runs = [
        run(rex, "<one>", 2),
        run(rex, "<two>", 1),
        run(rex, "<broken>", 3, lr=float("nan")),
        run(rex, "<three>", 1),
    ]
    found = train_to_end(base, runs, slots=2)
    assert [adapter.handle for adapter in found] == ["<one>", "<two>", "<three>"]
    assert same(before, state(base))
    assert untouched(base)
    for adapter in found:
        assert any(bool(tensor.any()) for name, tensor in adapter.stored.items() if name.endswith("up"))
        assert all(bool(torch.isfinite(tensor).all()) for tensor in adapter.stored.values())
