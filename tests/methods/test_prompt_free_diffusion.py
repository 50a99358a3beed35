"""Prompt-Free Diffusion: states of a picture in place of all text, on every denoiser that reads the same states."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import limner
from limner.core.streams import streams
from limner.core.subject import Subject
from limner.core.types import Pass, References
from limner.core.weights import cached_weights_path, shipped
from limner.engine.attach import AdaptedBase, Adapter, attach
from limner.engine.sample import sample
from limner.engine.train import train
from limner.errors import FileError, WrongBase
from limner.library.opening import adapter_of
from limner.methods import methods
from limner.parts.encoders import SemanticContext, clip_pyramid, layers
from limner.parts.encoders.semantic_context import levels_of
from limner.parts.fusion.decoupled_cross_attention import STATES
from limner.parts.parameters import learned
from limner.pocket.corpus import toys
from limner.workflows.pretrain import over
from tests.helpers import begun_weights, same, state

NAME = "prompt_free_diffusion"
TWO = limner.PaintSettings(steps=2)


def worn(base: Any, subject: Subject, **settings: Any) -> Adapter:
    begun_weights(NAME, base)
    stored = shipped(NAME, base) if not settings else {}
    return Adapter(methods()[NAME](subject, **settings), subject.handle, stored)


def painted(adapted: AdaptedBase, prompt: str, **more: Any) -> Tensor:
    with torch.no_grad():
        *_, last = sample(adapted, [prompt], seeds=[3], settings=TWO, **more)
    return last.latents


def states_of(adapted: AdaptedBase, rows: int = 1, **about: Any) -> Tensor:
    (live,) = adapted.live.values()
    with torch.no_grad():
        states: Tensor = live.offers[STATES](Pass(**about), rows)
    return states


@pytest.fixture(scope="module")
def tuned() -> Any:
    """A fine-tuned copy of the pocket base: the same text encoder and another denoiser."""
    copy: Any = limner.load("pocket", device="cpu")
    at = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in copy.module("denoiser").parameters():
            parameter.add_(0.02 * parameter.abs().mean() * torch.randn(parameter.shape, generator=at))
    return copy


def test_text_has_no_effect_at_all(base: Any, rex: Subject) -> None:
    with attach(base, (worn(base, rex),)) as adapted:
        first = painted(adapted, "a photo of <rex> on the beach")
        other = painted(adapted, "two red cars at night, a watercolour")
        with adapted.suspended():
            texts = [painted(AdaptedBase(base, ()), prompt) for prompt in ("a dog", "two red cars")]
    assert torch.equal(first, other)
    assert not torch.equal(texts[0], texts[1])


def test_the_picture_decides(base: Any, rex: Subject) -> None:
    found = []
    for order in (rex.pictures, rex.pictures[::-1], (rex.pictures[0], rex.pictures[2], rex.pictures[1])):
        with attach(base, (worn(base, replace(rex, pictures=order)),)) as adapted:
            found.append(painted(adapted, ""))
    assert not torch.allclose(found[0], found[1], atol=1e-3)
    assert torch.equal(found[0], found[2])  # the first one alone


def test_the_negative_branch_and_rows_without_references_read_zeros(base: Any, rex: Subject) -> None:
    pixels = rex.tensor(base.picture_size)[:2, None]
    with attach(base, (worn(base, rex),)) as adapted:
        sampled = states_of(adapted, 2, branches=("text", "negative"))
        shown = References(pixels, dropped=torch.tensor([False, True]))
        trained = states_of(adapted, 2, references=shown, random=streams(0, "try", 0, 0))
    for states in (sampled, trained):
        assert states.shape == (2, 20, base.states_shape[1])
        assert states[0].abs().max() > 0.1
        assert bool((states[1] == 0).all())
    torch.testing.assert_close(sampled[0], trained[0], atol=1e-5, rtol=1e-4)


def test_the_encoder_works_on_another_denoiser_of_the_same_text_space(base: Any, tuned: Any, rex: Subject) -> None:
    adapter, found, pictures, plain = worn(base, rex), [], [], []
    for where in (base, tuned):
        with attach(where, (adapter,)) as adapted:
            found.append(states_of(adapted))
            pictures.append(painted(adapted, ""))
            with adapted.suspended():
                plain.append(painted(AdaptedBase(where, ()), ""))
    assert tuned.fingerprint != base.fingerprint
    assert torch.equal(found[0], found[1])
    assert not torch.equal(pictures[0], pictures[1])
    # the picture moves the copy's paintings about as it moves the base's
    moved = [(picture - bare).flatten() for picture, bare in zip(pictures, plain, strict=True)]
    assert float(torch.cosine_similarity(moved[0], moved[1], 0)) > 0.5


def test_a_concept_is_attached_to_a_fine_tuned_copy_with_the_weights_of_its_base(
    base: Any, tuned: Any, rex: Subject
) -> None:
    begun_weights(NAME, base)
    concept = limner.learn(base, rex, method=NAME)
    with pytest.raises(WrongBase):
        adapter_of(concept, tuned)
    adapter = adapter_of(concept, tuned, any_base=True)
    assert same(adapter.stored, adapter_of(concept, base).stored)
    with pytest.raises(FileError, match="limner pretrain"):
        shipped(NAME, tuned)  # it has none of its own
    assert cached_weights_path(NAME, base).exists()
    with attach(tuned, (adapter,)) as adapted:
        assert bool(painted(adapted, "").isfinite().all())


def test_position_awareness_is_a_setting(base: Any, rex: Subject) -> None:
    """Without positions, patches in another order give the same states; with trained ones they do not."""
    pyramid, at = clip_pyramid(base, rex.tensor(base.picture_size)[:1]), torch.Generator().manual_seed(0)
    order = torch.cat([k + torch.randperm(n, generator=at) for k, n in ((0, 64), (64, 16), (80, 4))])
    for placed in (False, True):
        shape = SemanticContext(placed=placed)
        own = shape.start(pyramid.shape[-1], 192, torch.Generator().manual_seed(1))
        if placed:
            own["places.out.weight"] = torch.randn(96, 96, generator=at)
        first, moved = shape(own, pyramid), shape(own, pyramid[:, order])
        assert torch.allclose(first, moved, atol=1e-4) == (not placed)


def test_a_pyramid_halves_its_resolution_twice(base: Any, rex: Subject) -> None:
    pyramid = clip_pyramid(base, rex.tensor(base.picture_size)[:1])
    assert [level.shape[1] for level in levels_of(pyramid)] == [64, 16, 4]
    assert [level.shape[1] for level in levels_of(torch.zeros(1, 27**2 + 13**2 + 6**2, 2))] == [729, 169, 36]


def test_global_queries_read_the_picture_through_the_local_ones_alone(
    base: Any, rex: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, int] = {}
    plain = layers.attended

    def noting(own: Any, name: str, x: Tensor, to: Tensor, heads: int, **more: Any) -> Tensor:
        asked[name] = x.shape[1]
        return plain(own, name, x, to, heads, **more)

    monkeypatch.setattr("limner.parts.encoders.semantic_context.attended", noting)
    shape = SemanticContext()
    pyramid = clip_pyramid(base, rex.tensor(base.picture_size)[:1])
    shape(shape.start(pyramid.shape[-1], 192, torch.Generator().manual_seed(1)), pyramid)
    assert {count for name, count in asked.items() if name.endswith("cross")} == {16}
    assert {count for name, count in asked.items() if name.endswith("self")} == {20}


def test_a_picture_is_its_own_reference_and_the_encoder_alone_learns(base: Any) -> None:
    recipe = methods()[NAME](Subject("<nobody>", "toy"), batch=2)
    (stage,) = over(recipe.pretraining, toys(2))
    batch = stage.loss[0].source.prepare(base)(0, streams(0, "pairs", 0, 0))
    assert batch.references is not None
    with torch.no_grad():
        torch.testing.assert_close(base.encode(batch.references.first)[0], batch.latents, atol=1e-3, rtol=1e-3)
    adapter, before = Adapter(recipe, "<nobody>"), state(base)
    with attach(base, (adapter,)) as adapted:
        start = {name: tensor.detach().clone() for name, tensor in learned(recipe.modifiers[0])(adapted).items()}
    *_, last = train(base, adapter, stages=(replace(stage, steps=2),), seed=0)
    end = last.snapshot().tensors
    still = {name for name, tensor in start.items() if torch.equal(tensor, end[name])}
    assert not [name for name in still if not name.endswith("key.bias")]
    assert same(state(base), before)
