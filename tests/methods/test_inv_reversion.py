"""Inv-ReVersion: the inverse relation is stated beside the relation, and words of relations count more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

import limner
from limner.core.streams import streams
from limner.core.subject import Subject
from limner.engine.attach import Adapter, attach
from limner.engine.train import Update
from limner.methods import methods
from limner.parts.objectives import denoising, suppressed_denoising
from tests.helpers import QUICK, fast, related


@pytest.fixture(scope="module")
def rel() -> Subject:
    return related()


def test_every_picture_is_seen_with_its_caption_and_with_both_statements(base: Any, rel: Subject) -> None:
    recipe = methods()["inv_reversion"](rel, batch=4)
    stated, expanded = (recipe.stages[0].loss[k].source.prepare(base)(0, streams(0)) for k in (0, 1))
    assert torch.equal(stated.latents, expanded.latents)
    for plain, both in zip(stated.prompts, expanded.prompts, strict=True):
        first, second = plain.removeprefix("a photo of ").split(" <rel> ")
        assert both == f"{plain}, {second} <rel-inverse> {first}"


def test_both_words_learn_and_answer_in_prompts(base: Any, rel: Subject) -> None:
    concept = limner.learn(base, rel, method="inv_reversion", **fast(methods()["inv_reversion"]))
    start = base.word_vectors("and")
    assert set(concept.tensors) == {"word.<rel>", "word.<rel-inverse>"}
    assert not any(torch.equal(tensor, start) for tensor in concept.tensors.values())
    painted = [
        limner.paint(base, f"a dog {word} a car", concepts=[concept], seed=1, settings=QUICK)[0].image.tobytes()
        for word in ("<rel>", "<rel-inverse>", "and")
    ]
    assert len(set(painted)) == 3


def test_little_noise_counts_little(base: Any, rel: Subject) -> None:
    """At the share `below` and above, the loss is that of denoising; at no noise it is `floor` times as large."""
    recipe = methods()["inv_reversion"](rel, batch=2)
    source = recipe.stages[0].loss[0].source
    suppressed = suppressed_denoising(source, below=0.5, floor=0.25)
    batch = replace(source.prepare(base)(0, streams(0)), times=None)
    noise = torch.randn(batch.latents.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), attach(base, [Adapter(recipe, "<rel>")]) as adapted:
        for time, factor in ((0, 0.25), (base.num_train_times // 4, 0.625), (base.num_train_times - 1, 1.0)):
            update = Update(adapted, batch, torch.tensor([time, time]), noise, streams(0))
            update.together = [update]
            plain, less = denoising(source).value(update), suppressed.value(update)
            assert float(less / plain) == pytest.approx(factor, rel=1e-3)


def test_words_for_relations_weigh_more_than_those_for_things(base: Any, rel: Subject) -> None:
    """The heavier prepositions are, the smaller is the share of the things, and the value."""
    values = []
    for weight in (0.5, 2.0, 8.0):
        recipe = methods()["inv_reversion"](rel, batch=2, preposition_weight=weight, verb_weight=weight)
        term = recipe.stages[0].loss[2]
        with torch.no_grad(), attach(base, [Adapter(recipe, "<rel>")]) as adapted:
            batch = term.source.prepare(base)(0, streams(0))
            values.append(float(term.value(Update(adapted, batch, torch.zeros(2), torch.zeros(2), streams(0)))))
    assert values[0] > values[1] > values[2] > 0
