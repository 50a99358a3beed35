"""Stages that begin again with the base's own parameters, and tensors that one stage's source hands to the next's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from limner.core.recipe import Gather, Recipe, Source, Stage
from limner.core.subject import Subject
from limner.engine.attach import Adapter
from limner.engine.train import train
from limner.errors import InputError
from limner.parts.modifiers import new_word
from limner.parts.objectives import denoising
from limner.parts.parameters import cross_attention_kv, words
from limner.parts.sources import photos
from tests.helpers import same, state, untouched


def test_a_stage_anew_is_as_if_the_stages_before_had_not_been(base: Any, rex: Subject) -> None:
    """The draws of the second stage are its own, so its result is compared after different first stages."""

    def last(rate: float, *, anew: bool) -> dict[str, Tensor]:
        stages = [
            Stage((cross_attention_kv(),), (denoising(photos(rex)),), 2, rate),
            Stage((cross_attention_kv(),), (denoising(photos(rex)),), 2, 1e-3, anew=anew),
        ]
        *_, end = (p.snapshot() for p in train(base, Adapter(Recipe("dog"), "<rex>"), stages=stages))
        return dict(end.tensors)

    before = state(base)
    assert same(last(1e-3, anew=True), last(1e-2, anew=True))
    assert not same(last(1e-3, anew=False), last(1e-2, anew=False))
    assert same(state(base), before)
    assert untouched(base)


def test_a_modifier_cannot_begin_anew(base: Any, rex: Subject) -> None:
    word = new_word("<rex>", "dog")
    stage = Stage((words(word),), (denoising(photos(rex)),), 1, 1e-3, anew=True)
    with pytest.raises(InputError, match=r"word\.<rex> is a modifier's: leave out `anew`"):
        next(train(base, Adapter(Recipe("<rex>", (word,)), "<rex>"), stages=[stage]))
    assert untouched(base)


def counting(rex: Subject, *, onward: bool, name: str = "counting") -> tuple[Source, list[list[str]]]:
    """A source that makes one more number in each stage, and the names that it was given."""
    given: list[list[str]] = []
    inner = photos(rex)

    def make(adapted: Any, at: Any, earlier: Any) -> dict[str, Tensor]:
        given.append(sorted(earlier))
        return {**earlier, f"n{len(earlier)}": torch.tensor(float(len(earlier)))}

    gather = Gather(make, lambda base, gathered: inner.prepare(base), onward=onward)
    return Source(name, "subject", inner.prepare, gather=gather), given


@pytest.mark.parametrize("onward", [True, False])
def test_a_source_of_the_next_stage_is_given_what_went_before(base: Any, rex: Subject, onward: bool) -> None:
    source, given = counting(rex, onward=onward)
    stages = [Stage((cross_attention_kv(),), (denoising(source),), 1, 1e-3) for _ in range(3)]
    points = [p.snapshot() for p in train(base, Adapter(Recipe("dog"), "<rex>"), stages=stages)]
    assert given == ([[], ["n0"], ["n0", "n1"]] if onward else [[], [], []])
    assert ("earlier.counting.n0" in points[0].moments) == onward
    given.clear()
    *_, end = (p.snapshot() for p in train(base, Adapter(Recipe("dog"), "<rex>"), stages=stages, start=points[1]))
    assert given == ([["n0", "n1"]] if onward else [[]])
    assert same(end.tensors, points[2].tensors)
