"""MultiBooth: a token as long as its class noun's, and changes of cross-attention that act in a subject's box alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import limner
from limner.core.concept import Concept
from limner.core.regions import region_masks
from limner.core.subject import Subject
from limner.core.types import AttentionCall
from limner.engine.attach import attach
from limner.engine.regions import Layout
from limner.engine.sample import PaintSettings, _guided, _plain
from limner.library.opening import adapter_of
from limner.parts.attention.regions import kept_to_regions
from limner.pocket.subjects import toy
from tests.helpers import begun_weights

HOW = PaintSettings(steps=2, compose="attention")
PROMPT = "<rex> and <bo> on the beach"


@pytest.fixture(scope="module")
def pair(base: Any) -> list[Concept]:
    """Two subjects, their changes moved far enough to be seen."""
    begun_weights("multibooth", base)
    subjects = toy("dog", 2_000_020, name="rex", count=2), toy("car", 2_000_021, name="bo", count=2)
    concepts = [limner.learn(base, each, method="multibooth", steps=2, batch=1) for each in subjects]
    return [moved(concept, seed) for seed, concept in enumerate(concepts)]


def moved(concept: Concept, seed: int, *, only: str = "") -> Concept:
    """The concept with random changes of its layers, or of the layers of one kind and none of the others."""
    draw = torch.Generator().manual_seed(seed)
    tensors = dict(concept.tensors)
    for name, tensor in concept.tensors.items():
        if name.endswith(".up"):
            tensors[name] = 0.1 * torch.randn(tensor.shape, generator=draw) * (only in name)
    return replace(concept, tensors=tensors)


def results(base: Any, concepts: list[Concept], masks: dict[str, Tensor]) -> Tensor:
    """The output of the first cross-attention layer, by position. # [branches, side, side, C]"""
    outputs: list[Tensor] = []

    def look(call: AttentionCall) -> AttentionCall:
        if call.site.kind == "cross" and not outputs:
            call.on_result.append(lambda out: outputs.append(out.clone()) or out)  # type: ignore[func-returns-value]
        return call

    layout = Layout(masks, "attention", operations=(kept_to_regions(), look))
    x = torch.randn(1, *base.latent_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), attach(base, [adapter_of(concept, base) for concept in concepts]) as adapted:
        _guided(_plain(adapted, [PROMPT], [0], HOW, None, {}, 1, layout)).at(0, x, torch.tensor([600]), guided=True)
    side = round(outputs[0].shape[1] ** 0.5)
    return outputs[0].unflatten(1, (side, side))


def halves(base: Any, **regions: str) -> dict[str, Tensor]:
    return region_masks(regions, handles=("<rex>", "<bo>"), size=base.latent_shape[1:])


def test_a_change_acts_within_its_box_alone(base: Any, pair: list[Concept]) -> None:
    """The first subject's change moves no bit of the layer's output outside of its box, and moves it inside."""
    masks = halves(base, rex="left", bo="right")
    now, other = (results(base, [moved(pair[0], seed), pair[1]], masks) for seed in (5, 6))
    middle = now.shape[2] // 2
    assert torch.equal(now[:, :, middle:], other[:, :, middle:])
    assert float((now - other)[:, :, :middle].abs().mean()) > 1e-3
    swapped = [results(base, [pair[0], moved(pair[1], seed)], masks) for seed in (5, 6)]
    assert torch.equal(swapped[0][:, :, :middle], swapped[1][:, :, :middle])


def test_outside_of_all_boxes_no_change_acts(base: Any, pair: list[Concept]) -> None:
    masks = halves(base, rex="left third", bo="right third")
    changed = results(base, pair, masks)
    plain = results(base, [moved(concept, 0, only="none of them") for concept in pair], masks)
    middle = changed.shape[2] // 2
    assert torch.equal(changed[:, :, middle], plain[:, :, middle])
    assert not torch.equal(changed[:, :, 0], plain[:, :, 0])
    assert not torch.equal(changed[:, :, -1], plain[:, :, -1])


def test_where_boxes_overlap_their_outputs_are_averaged(base: Any, pair: list[Concept]) -> None:
    """With changes of values alone, which act linearly, the output of both is the mean of the output of each."""
    every = {handle: torch.full((1, 1, *base.latent_shape[1:]), 0.5) for handle in ("<rex>", "<bo>")}
    values = [moved(concept, seed, only=".to_v.") for seed, concept in enumerate(pair)]
    none = [moved(concept, seed, only="none of them") for seed, concept in enumerate(pair)]
    both, plain = results(base, values, every), results(base, none, every)
    alone = [results(base, [values[0], none[1]], every), results(base, [none[0], values[1]], every)]
    assert torch.allclose(both - plain, sum((each - plain for each in alone), torch.zeros_like(plain)), atol=1e-5)
    whole = results(base, [values[0], none[1]], {"<rex>": torch.ones(1, 1, *base.latent_shape[1:])})
    bare = results(base, none, {"<rex>": torch.ones(1, 1, *base.latent_shape[1:])})
    assert torch.allclose(2 * (alone[0] - plain), whole - bare, atol=1e-4)


def test_the_token_is_as_long_as_the_class_noun(base: Any, pair: list[Concept], rex: Subject) -> None:
    """Its direction is the encoder's, and changes with the pictures."""
    tokens = []
    for concept, noun in zip(pair, ("dog", "car"), strict=True):
        with torch.no_grad(), attach(base, [adapter_of(concept, base)]) as adapted:
            text = f"a photo of {concept.handle}"
            run = adapted.run(time=torch.tensor([500]), latents=None, prompts=(adapted.expand_prompt(text),))
            x = torch.randn(1, *base.latent_shape, generator=torch.Generator().manual_seed(0))
            base.predict(x, run.time, adapted.text_states([text]), context=run)
        token, embedding = run.activations["picture words"], run.activations["customised embedding"]
        assert token.shape[1] == 1
        assert float(token.norm()) == pytest.approx(float(base.word_vectors(noun).norm(dim=-1).mean()), rel=1e-5)
        assert float(torch.cosine_similarity(token[0], embedding)) == pytest.approx(1, abs=1e-5)
        tokens.append(token[0, 0])
    assert float(torch.cosine_similarity(tokens[0], tokens[1], dim=0)) < 0.9999


def test_two_subjects_are_painted_in_one_run(base: Any, pair: list[Concept]) -> None:
    """Boxes change the picture, and exchanging them paints another."""
    about: dict[str, Any] = {"concepts": pair, "seed": 3, "settings": HOW}
    pictures = [
        limner.paint(base, PROMPT, regions=regions, **about)[0].image.tobytes()
        for regions in ({"rex": "left", "bo": "right"}, {"rex": "right", "bo": "left"}, None)
    ]
    assert len(set(pictures)) == 3
