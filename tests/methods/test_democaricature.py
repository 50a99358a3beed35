"""DemoCaricature: its explicit rank-one edit, and its random masks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import limner
from limner.core.subject import Subject
from limner.core.types import AttentionCall
from limner.engine.attach import AdaptedBase, Adapter, attach
from limner.engine.train import Update, begin_update
from limner.methods import methods
from limner.parts.modifiers import second_moment
from limner.parts.objectives import denoising
from limner.parts.sources import photos, with_hidden_patches
from tests.helpers import person

PROMPT = "a photo of <rex> in the city"


@pytest.fixture(scope="module")
def ada() -> Subject:
    return person()


def keys_and_values(base: Any, adapted: AdaptedBase, prompt: str, states: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Layer -> its keys and values [L, out] in a run that reads these hidden states [1, L, D]."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def note(call: AttentionCall) -> AttentionCall:
        if call.site.kind == "cross":
            seen[call.site.name] = (call.key[0].transpose(0, 1).flatten(1), call.value[0].transpose(0, 1).flatten(1))
        return call

    t = torch.tensor([500])
    run = adapted.run(time=t, prompts=(adapted.expand_prompt(prompt),))
    run.operations = (*run.operations, note)
    base.predict(torch.zeros(1, *base.latent_shape), t, states, context=run)
    return seen


def fill(adapted: AdaptedBase, states: Tensor, place: int) -> Tensor:
    """Give the edit random outputs, and the token's hidden state, which is returned, as its direction."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in adapted.tensors.items():
        if name.endswith((".key", ".value")):
            tensor.copy_(torch.randn(tensor.shape, generator=generator))
    adapted.tensors["explicit.<rex>.direction"].copy_(states[0, place])
    return states[0, place]


@torch.no_grad()
def test_weights_are_edited_by_rank_one_and_orthogonal_states_are_left_alone(base: Any, ada: Subject) -> None:
    """Against W' = W + (o - W i) (C^-1 i)' / (i' C^-1 i), written out."""
    with attach(base, [Adapter(methods()["democaricature"](ada), ada.handle)]) as adapted:
        states = adapted.text_states([PROMPT])
        place = base.word_places(PROMPT, "<rex>", words=adapted.words)[0]
        i = fill(adapted, states, place)
        toward = torch.linalg.solve(second_moment(base), i)
        row = toward / (i @ toward)
        aside = states - (states @ row)[..., None] * i  # orthogonal to C^-1 i
        assert float((aside - states).norm(dim=-1).max()) > 1
        seen, beside = (keys_and_values(base, adapted, PROMPT, given) for given in (states, aside))
        sites = [site for site in base.sites if site.kind == "cross"]
        assert seen.keys() == {site.name for site in sites}
        for site in sites:
            for k, (part, layer) in enumerate(zip(("key", "value"), base.key_value(site), strict=True)):
                learned = adapted.tensors[f"explicit.<rex>.{site.name}.{part}"]
                edited = layer.weight + torch.outer(learned, row)
                assert torch.linalg.matrix_rank(edited - layer.weight, rtol=1e-3) == 1
                assert torch.allclose(seen[site.name][k], states[0] @ edited.T, atol=1e-3)
                assert torch.allclose(seen[site.name][k][place], layer(i) + learned, atol=1e-3)
                assert torch.allclose(beside[site.name][k], layer(aside[0]), atol=1e-3)


@torch.no_grad()
def test_with_the_cosine_the_tokens_position_alone_is_edited(base: Any, ada: Subject) -> None:
    recipe = methods()["democaricature"](ada, similarity="cosine")
    with attach(base, [Adapter(recipe, ada.handle)]) as adapted:
        states = adapted.text_states([PROMPT])
        place = base.word_places(PROMPT, "<rex>", words=adapted.words)[0]
        fill(adapted, states, place)
        site = next(site for site in base.sites if site.kind == "cross")
        change = keys_and_values(base, adapted, PROMPT, states)[site.name][1] - base.key_value(site)[1](states[0])
    assert torch.allclose(change[place], adapted.tensors[f"explicit.<rex>.{site.name}.value"], atol=1e-4)
    others = torch.arange(len(change)) != place
    assert float(change[others].abs().max()) < 1e-5


@torch.no_grad()
def test_prompts_without_the_word_read_the_weights_of_the_base(base: Any, ada: Subject) -> None:
    with attach(base, [Adapter(methods()["democaricature"](ada), ada.handle)]) as adapted:
        states = adapted.text_states(["a photo of a person"])
        fill(adapted, states, 1)
        for name, (key, value) in keys_and_values(base, adapted, "a photo of a person", states).items():
            layers = base.key_value(next(site for site in base.sites if site.name == name))
            assert torch.allclose(key, layers[0](states[0]), atol=1e-5)
            assert torch.allclose(value, layers[1](states[0]), atol=1e-5)


def test_a_style_is_edited_in_the_up_blocks_and_strange_blocks_are_refused(base: Any, ada: Subject) -> None:
    style = replace(ada, kind="style", noun="drawing")
    for subject, settings, blocks in (
        (style, {}, {"up"}),
        (style, {"edited_blocks": "down"}, {"down"}),
        (ada, {}, {site.block for site in base.sites if site.kind == "cross"}),
    ):
        edit: Any = methods()["democaricature"](subject, **settings).modifiers[1]
        assert {site.block for site in edit.sites(base)} == blocks
    edit = methods()["democaricature"](ada, edited_blocks="upper").modifiers[1]
    with pytest.raises(limner.errors.InputError, match="no block of the network"):
        edit.sites(base)
    with (
        pytest.raises(limner.errors.InputError, match="no similarity"),
        attach(base, [Adapter(methods()["democaricature"](ada, similarity="cosin"), ada.handle)]),
    ):
        pass


def test_hidden_patches_are_neither_in_the_input_nor_in_the_loss(base: Any, ada: Subject) -> None:
    recipe = methods()["democaricature"](ada)
    with attach(base, [Adapter(recipe, ada.handle)]) as adapted:
        source = recipe.stages[0].loss[0].source
        step = begin_update(Update, adapted, source, source.prepare(base), 0, 0, 0)
        step.together = [step]
        mask = step.batch.mask
        assert mask is not None
        hidden = (mask == 0).expand_as(step.batch.latents)
        assert 0.05 < float(hidden.float().mean()) < 0.6
        assert not step.batch.latents[hidden].any()
        assert step.batch.latents[~hidden].any()
        parameter = adapted.tensors["word.<rex>"].requires_grad_(True)
        adapted.text_learns(True)
        output = step.prediction.output
        (slope,) = torch.autograd.grad(recipe.stages[0].loss[0].value(step), output)
        parameter.requires_grad_(False)
    assert not slope[hidden].any()
    assert slope[~hidden].all()


def test_nothing_is_hidden_at_share_zero_and_a_wrong_share_is_refused(base: Any, ada: Subject) -> None:
    whole, same = photos(ada), with_hidden_patches(photos(ada), share=0.0)
    assert denoising(same).source is same
    draws = [
        begin_update(Update, AdaptedBase(base, ()), replace(source, name="photos"), source.prepare(base), 0, 0, 0)
        for source in (whole, same)
    ]
    assert torch.equal(draws[0].batch.latents, draws[1].batch.latents)
    with pytest.raises(limner.errors.InputError, match="from 0 to below 1"):
        with_hidden_patches(whole, share=1.0)
