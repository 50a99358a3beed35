"""Generative active learning: certain anchors are never selected, and a round's pictures share its openness."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from limner.core.recipe import Recipe, Stage
from limner.core.streams import streams
from limner.core.subject import Subject
from limner.engine.attach import Adapter
from limner.engine.train import train
from limner.errors import InputError
from limner.parts.encoders import structured_captions
from limner.parts.objectives import clip_reward, scaled_denoising
from limner.parts.parameters import everything
from limner.parts.sources import active, uncertain
from limner.parts.sources.active import entropy, overfitting, selected
from tests.helpers import same, state, untouched

ANCHORS = tuple(
    f"{{}} {place}" for place in ("on the beach", "in the snow", "in the jungle", "in the city", "in a sjk")
)


def test_entropy_is_nothing_where_all_samples_agree() -> None:
    shares = torch.tensor([0.0, 0.1, 0.5, 1.0])
    wanted = [0.0, -0.1 * math.log(0.1) - 0.9 * math.log(0.9), math.log(2), 0.0]
    assert entropy(shares).tolist() == pytest.approx(wanted, abs=1e-6)


def test_certain_anchors_are_never_selected() -> None:
    assert selected(torch.tensor([0.0, 0.3, 0.0, 0.6, 0.3]), 3) == [3, 1, 4]
    assert selected(torch.tensor([0.0, 0.3, 0.0, 0.6]), 3) == []  # two are uncertain, three are asked for
    assert selected(torch.tensor([0.3]), 2) == []


def test_a_sample_is_overfit_where_the_reference_prompt_is_as_near(base: Any) -> None:
    """Four samples of each of two anchors, with the cosines given."""
    near = {
        "own": [0.9, 0.5, 0.4, 0.1, 0.9, 0.9, 0.9, 0.9],
        "first reference": [0.5, 0.6, 0.0, 0.1, 0.1, 0.1, 0.1, 0.1],
        "second reference": [0.1, 0.1, 0.1, 0.5, 0.2, 0.2, 0.2, 0.2],
    }
    adapted: Any = type("Plain", (), {"base": base, "expand_prompt": staticmethod(lambda text: text)})
    texts, references = ["own"] * 8, ["first reference", "second reference", "first reference"]
    by = lambda base, pixels, prompts: torch.tensor(near[prompts[0]])  # noqa: E731
    found = overfitting(adapted, torch.zeros(8, 3, 2, 2), texts, references, nearness=by, samples=4)
    assert found.share.tolist() == [0.5, 0.0]
    assert found.entropy.tolist() == pytest.approx([math.log(2), 0])
    assert found.best.tolist() == [0, 0]


def half(
    adapted: Any, pixels: Tensor, texts: Any, references: Any, *, nearness: Any, samples: int
) -> active.Overfitting:
    """A test that is uncertain about every anchor but the first, and likes each anchor's last sample best."""
    count = len(texts) // samples
    share = torch.tensor([0.0] + [0.5] * (count - 1))
    return active.Overfitting(share, entropy(share), torch.full((count,), samples - 1))


def rounds(rex: Subject, **more: Any) -> Recipe:
    about: dict[str, Any] = {"top": 2, "samples": 2, "batch": 6, "steps": 1, "openness": 0.5, **more}
    source = uncertain(rex, ANCHORS, describe=structured_captions, nearness=clip_reward, **about)
    stages = tuple(Stage((everything(),), (scaled_denoising(source),), 2, 1e-3, anew=True) for _ in range(2))
    return Recipe("dog", stages=stages)


def test_rounds_grow_by_uncertain_anchors_with_their_own_openness(
    base: Any, rex: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(active, "overfitting", half)
    before, recipe = state(base), rounds(rex)
    points = [p.snapshot() for p in train(base, Adapter(recipe, "<rex>"), stages=recipe.stages)]
    first, second = ({k: points[at].moments[f"gathered.0.{k}"] for k in ("anchors", "weights")} for at in (0, 2))
    assert first["anchors"].tolist() == [1, 2]
    openness = 0.5 * math.log(2) * 3 / 4  # four anchors have known words, one of these is certain
    assert first["weights"].tolist() == pytest.approx([openness] * 2)
    assert second["anchors"].tolist() == [1, 2]  # of two anchors left one is certain: too few for another round
    assert same(state(base), before)
    assert untouched(base)


def test_a_second_round_adds_to_the_first_and_uses_no_anchor_twice(
    base: Any, rex: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(active, "overfitting", half)
    recipe = rounds(rex, top=1)
    points = [p.snapshot() for p in train(base, Adapter(recipe, "<rex>"), stages=recipe.stages)]
    made = points[2].moments
    assert made["gathered.0.anchors"].tolist() == [1, 2]
    wanted = [0.5 * math.log(2) * 3 / 4, 0.5 * math.log(2) * 2 / 3]
    assert made["gathered.0.weights"].tolist() == pytest.approx(wanted)
    assert torch.equal(made["gathered.0.latents"][0], points[0].moments["gathered.0.latents"][0])
    for point in points[1:3]:  # between rounds, within the last
        *_, end = (p.snapshot() for p in train(base, Adapter(recipe, "<rex>"), stages=recipe.stages, start=point))
        assert same(end.tensors, points[-1].tensors)


def test_batches_mix_references_of_weight_one_with_selected_pictures(base: Any, rex: Subject) -> None:
    source = uncertain(rex, ANCHORS, describe=structured_captions, nearness=clip_reward, batch=64)
    assert source.gather is not None
    latents = torch.stack([torch.full(base.latent_shape, float(k)) for k in (7, 8)])
    gathered = {"latents": latents, "anchors": torch.tensor([3, 1]), "weights": torch.tensor([0.2, 0.1])}
    batch = source.gather.draw(base, gathered)(0, streams(0))
    assert batch.weight is not None
    seen = {(float(w), float(x.mean()) if w < 1 else 1.0) for w, x in zip(batch.weight, batch.latents, strict=True)}
    assert {(round(w, 6), x) for w, x in seen} == {(1.0, 1.0), (0.2, 7.0), (0.1, 8.0)}
    share = float((batch.weight < 1).float().mean())
    assert share == pytest.approx(2 / 5, abs=0.2)  # three references and two selected pictures, drawn alike
    for text, weight in zip(batch.prompts, batch.weight.tolist(), strict=True):
        assert ("in the city" in text) == (weight == pytest.approx(0.2)) or weight == 1
        assert "<rex>" in text


def test_rounds_need_anchors_and_samples_that_can_disagree(rex: Subject) -> None:
    for more in ({"samples": 1}, {"top": 0}, {"steps": 0}):
        about: dict[str, Any] = {"describe": structured_captions, "nearness": clip_reward, **more}
        with pytest.raises(InputError, match="at least 2 samples"):
            uncertain(rex, ANCHORS, **about)
