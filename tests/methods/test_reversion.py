"""ReVersion: a relation's token is among prepositions and far from the things; noisy times are drawn more often."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import limner
from limner.core.recipe import Source
from limner.core.streams import streams
from limner.core.subject import Subject
from limner.core.types import Batch
from limner.core.word_classes import PREPOSITIONS
from limner.errors import InputError
from limner.methods import methods
from limner.parts.modifiers.words import one_token_vectors
from limner.parts.sources import noisier, statement_of
from tests.helpers import PAIRS, related


@pytest.fixture(scope="module")
def rel() -> Subject:
    return related()


def nearness(base: Any, token: Tensor) -> tuple[float, float]:
    """The mean cosine of the prepositions that the base knows to a token [1, D], and the largest of the entities'."""
    cosines = [
        torch.cosine_similarity(token, torch.cat(list(one_token_vectors(base, words).values())))
        for words in (PREPOSITIONS, {word for pair in PAIRS for word in pair})
    ]
    return float(cosines[0].mean()), float(cosines[1].max())


def learned(base: Any, rel: Subject, **settings: Any) -> Tensor:
    return limner.learn(base, rel, method="reversion", steps=25, batch=2, **{"lr": 1e-2, **settings}).tensors[
        "word.<rel>"
    ]


def test_the_token_is_nearer_to_prepositions_than_to_any_entity(base: Any, rel: Subject) -> None:
    """At the published weight of the contrast; without the contrast it is nearest to the things."""
    steered, things = nearness(base, learned(base, rel))
    assert steered > things + 0.05
    free, free_things = nearness(base, learned(base, rel, steering_weight=0.0))
    assert free < free_things - 0.2


@pytest.mark.parametrize("bias", [0.5, 1.0])
def test_times_are_drawn_with_the_published_density(base: Any, bias: float) -> None:
    """The histogram rises from bin to bin and has the shares of the density's integral."""
    rows = 40_000
    nothing = Batch(torch.zeros(rows, 0), ("",) * rows)
    source = noisier(Source("nothing", "subject", lambda base: lambda step, at: nothing), bias=bias)
    times = source.prepare(base)(0, streams(0)).times
    assert times is not None
    assert torch.equal(times[:, 0], times[:, 1])
    histogram = torch.histc(times[:, 0].double(), bins=8, min=0, max=1) / rows
    edges = torch.linspace(0, 1, 9, dtype=torch.float64)
    below = edges - bias * torch.sin(torch.pi * edges) / torch.pi
    assert torch.allclose(histogram, below.diff(), atol=0.01)
    assert bool((histogram.diff() > 0).all())


def test_a_bias_of_zero_draws_all_times_alike(base: Any, rel: Subject) -> None:
    (term, _) = methods()["reversion"](rel, bias=0.0, batch=400).stages[0].loss
    times = term.source.prepare(base)(0, streams(0)).times
    assert times is not None
    assert float(times.mean()) == pytest.approx(0.5, abs=0.05)
    with pytest.raises(ValueError, match="from 0 to 1, not 1.5"):
        noisier(term.source, bias=1.5)


def test_a_caption_is_split_at_its_things() -> None:
    statement = statement_of("a photo of a red dog <rel> a small car, on the beach", "<rel>")
    assert statement == ("a photo of", "a red dog", "a small car", "on the beach")
    whole = statement.expanded("<rel>", "<rel-inverse>")
    assert whole == "a photo of a red dog <rel> a small car, a small car <rel-inverse> a red dog on the beach"
    assert statement_of("cats <rel> boats in snow", "<rel>") == ("", "cats", "boats", "in snow")


@pytest.mark.parametrize(
    ("captions", "message"),
    [
        ((), "has no caption that names what it shows"),
        (("a photo of <rel>", "a photo of <rel>"), "has no caption that names what it shows"),
        (("a photo of a dog <rel>", "a dog <rel> a car"), "does not say what <rel> relates"),
        (("a photo of a dog <rel> on the beach", "a dog <rel> a car"), "does not say what <rel> relates"),
    ],
)
def test_captions_without_the_things_are_refused(rel: Subject, captions: tuple[str, ...], message: str) -> None:
    images = [picture.image for picture in rel.pictures[:2]]
    subject = Subject.of(images, noun="and", handle="rel", kind="relation", captions=captions)
    with pytest.raises(InputError, match=message):
        methods()["reversion"](subject)
