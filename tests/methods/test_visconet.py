"""ViscoNet: a masked control branch that reads visual tokens, beside a denoiser that reads the text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import limner
from limner.core.streams import streams
from limner.core.subject import Subject
from limner.core.types import Residuals
from limner.core.weights import shipped
from limner.engine.attach import AdaptedBase, Adapter, attach
from limner.engine.sample import sample
from limner.engine.train import train
from limner.errors import InputError
from limner.methods import methods
from limner.parts.encoders import subject_masks
from limner.parts.fusion.visual_branch import MASK, pooled
from limner.parts.sources import pairs
from limner.pocket.corpus import toys
from limner.workflows.pretrain import over
from tests.helpers import begun_weights, same, state, untouched

TWO = limner.PaintSettings(steps=2)


@pytest.fixture(scope="module")
def car() -> Subject:
    from limner.pocket.subjects import toy

    return replace(toy("car", 2_000_021, count=3), handle="<rex>")


def worn(base: Any, subject: Subject, **settings: Any) -> Adapter:
    begun_weights("visconet", base)
    return Adapter(methods()["visconet"](subject, **settings), subject.handle, shipped("visconet", base))


def box(base: Any, left: float, right: float) -> Tensor:
    """[1, 1, H, W]: 1 between these shares of the width, in the middle half of the height."""
    size = base.picture_size
    mask = torch.zeros(1, 1, size, size)
    mask[:, :, size // 4 : 3 * size // 4, int(left * size) : int(right * size)] = 1
    return mask


def residuals(adapted: AdaptedBase, prompt: str, mask: Tensor | None, **about: Any) -> list[Tensor]:
    """All that the branch adds in one run, the middle's last."""
    base = adapted.base
    x = torch.randn(1, *base.latent_shape, generator=torch.Generator().manual_seed(0))
    given = {} if mask is None else {MASK: mask}
    run = adapted.run(
        time=torch.tensor([400]), latents=x, prompts=(adapted.expand_prompt(prompt),), conditions=given, **about
    )
    (live,) = [live for live in run.lives if live.controls]
    assert run.time is not None
    with torch.no_grad():
        added: Residuals = live.controls[0](x, run.time, {"encoder_hidden_states": adapted.text_states([prompt])}, run)
    assert added.middle is not None
    return [*added.skips, added.middle]


def painted(adapted: AdaptedBase, prompt: str, **more: Any) -> Tensor:
    with torch.no_grad():
        *_, last = sample(adapted, [prompt], seeds=[3], settings=TWO, **more)
    return last.latents


def test_outside_of_the_mask_every_residual_is_exactly_zero(base: Any, rex: Subject) -> None:
    mask = box(base, 0.0, 0.5)
    with attach(base, (worn(base, rex),)) as adapted:
        masked, whole = (residuals(adapted, "<rex>", each) for each in (mask, torch.ones_like(mask)))
        empty = residuals(adapted, "<rex>", torch.zeros_like(mask))
    assert len(masked) > 4
    for part, everywhere, none in zip(masked, whole, empty, strict=True):
        inside = F.interpolate(mask, part.shape[-2:], mode="nearest").expand_as(part) > 0
        assert bool((part[~inside] == 0).all())
        assert part[inside].abs().max() > 0
        assert everywhere[~inside].abs().max() > 0  # it is the mask that silences the branch there
        assert bool((none == 0).all())


def test_the_branch_reads_the_pictures_and_the_mask_and_nothing_of_the_prompt(
    base: Any, rex: Subject, car: Subject
) -> None:
    mask = box(base, 0.0, 0.5)
    with attach(base, (worn(base, rex),)) as adapted:
        first = residuals(adapted, "a photo of <rex>", mask)
        other_prompt = residuals(adapted, "two boats at night", mask)
        other_mask = residuals(adapted, "a photo of <rex>", box(base, 0.25, 0.5))
    with attach(base, (worn(base, car),)) as adapted:
        other_pictures = residuals(adapted, "a photo of <rex>", mask)
    assert all(torch.equal(a, b) for a, b in zip(first, other_prompt, strict=True))
    assert not all(torch.allclose(a, b, atol=1e-6) for a, b in zip(first, other_pictures, strict=True))
    assert not all(torch.allclose(a, b, atol=1e-6) for a, b in zip(first, other_mask, strict=True))


def test_the_denoiser_goes_on_reading_the_text(base: Any, rex: Subject) -> None:
    with attach(base, (worn(base, rex),)) as adapted:
        assert not adapted.operations  # nothing acts in its attention
        first, second = (painted(adapted, prompt) for prompt in ("<rex> on the beach", "<rex> in the city"))
    assert not torch.allclose(first, second, atol=1e-3)


@pytest.mark.parametrize("strengths", ["1", "0", "0,0,0,0,0,0,0,1"])
def test_strengths_of_zero_are_the_base(base: Any, rex: Subject, strengths: str) -> None:
    with attach(base, (worn(base, rex),)) as adapted:
        count = len(residuals(adapted, "<rex>", None))
    numbers = strengths if "," not in strengths else ",".join(["0"] * (count - 1) + ["1"])
    with attach(base, (worn(base, rex, strengths=numbers),)) as adapted:
        found = painted(adapted, "a photo of <rex> on the beach")
        with adapted.suspended():
            plain = painted(AdaptedBase(base, ()), "a photo of dog on the beach")
        if "," in numbers:
            *finer, middle = residuals(adapted, "<rex>", None)
            assert all(bool((part == 0).all()) for part in finer)
            assert middle.abs().max() > 0
    assert torch.equal(found, plain) == (strengths == "0")


def test_a_strength_multiplies_its_own_residual(base: Any, rex: Subject) -> None:
    with attach(base, (worn(base, rex),)) as adapted:
        one = residuals(adapted, "<rex>", None)
    numbers = [0.5 + 0.25 * k for k in range(len(one))]
    with attach(base, (worn(base, rex, strengths=", ".join(map(str, numbers))),)) as adapted:
        many = residuals(adapted, "<rex>", None)
    for first, other, number in zip(one, many, numbers, strict=True):
        torch.testing.assert_close(other, number * first)


@pytest.mark.parametrize("strengths", ["", "much", "1;2", "-1", "11", "nan"])
def test_strengths_that_are_no_numbers_are_refused(rex: Subject, strengths: str) -> None:
    with pytest.raises(InputError, match="strengths are numbers from 0 to 10"):
        methods()["visconet"](rex, strengths=strengths)


def test_too_many_strengths_are_refused(base: Any, rex: Subject) -> None:
    adapter = worn(base, rex, strengths="1,1")
    with pytest.raises(InputError, match="2 strengths for the"), attach(base, (adapter,)):
        pass
    assert untouched(base)


def test_the_unconditional_branch_has_zero_tokens_and_a_zero_mask(base: Any, rex: Subject) -> None:
    with attach(base, (worn(base, rex),)) as adapted:
        nobody = residuals(adapted, "<rex>", torch.ones(1, 1, 128, 128), branches=("negative",))
    assert all(bool((part == 0).all()) for part in nobody)


def test_without_a_condition_the_subject_is_in_its_region_or_where_its_first_picture_has_it(
    base: Any, rex: Subject
) -> None:
    own, region = subject_masks(base, rex)[:1], torch.zeros(1, 1, *base.latent_shape[1:])
    region[..., : region.shape[-1] // 2] = 1
    with attach(base, (worn(base, rex),)) as adapted:
        plain, given = (residuals(adapted, "<rex>", mask) for mask in (None, own))
        placed = residuals(adapted, "<rex>", None, regions={"<rex>": region})
        said = residuals(adapted, "<rex>", own, regions={"<rex>": region})
    assert all(torch.equal(a, b) for a, b in zip(plain, given, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(said, given, strict=True))
    finest = placed[0]
    assert bool((finest[..., finest.shape[-1] // 2 :] == 0).all())
    assert finest.abs().max() > 0


def test_tokens_are_pooled_over_tokens_and_follow_the_number_of_pictures() -> None:
    at = torch.Generator().manual_seed(0)
    own = {"pool.weight": torch.randn(9, 257, generator=at), "pool.bias": torch.randn(9, generator=at)}
    seen = torch.randn(2, 3, 257, 8, generator=at)
    tokens = pooled(own, seen)
    assert tokens.shape == (2, 27, 8)
    expected = torch.einsum("tl,lc->tc", own["pool.weight"], seen[1, 2]) + own["pool.bias"][:, None]
    torch.testing.assert_close(tokens[1, 18:], expected, atol=1e-4, rtol=1e-4)
    wider = pooled(own | {"onto": torch.randn(5, 8, generator=at)}, seen)
    assert wider.shape == (2, 27, 5)


def test_pretraining_has_the_mask_of_the_picture_to_paint(base: Any) -> None:
    recipe = methods()["visconet"](Subject("<nobody>", "toy"), batch=2)
    (stage,) = over(recipe.pretraining, toys(2))
    batch = stage.loss[0].source.prepare(base)(0, streams(0, "pairs", 0, 0))
    mask = batch.conditions[MASK]
    assert mask.shape == (2, 1, base.picture_size, base.picture_size)
    assert 0.02 < float(mask.mean()) < 0.6
    adapter, before = Adapter(recipe, "<nobody>"), state(base)
    with attach(base, (adapter,)) as adapted:
        start = {name: tensor.detach().clone() for name, tensor in adapted.tensors.items()}
    *_, last = train(base, adapter, stages=(replace(stage, steps=2),), seed=0)
    end = last.snapshot().tensors
    moved = {name for name, tensor in end.items() if not torch.equal(tensor, start[name])}
    assert any(name.endswith("controlnet_mid_block.weight") for name in moved)
    assert all(name.startswith("control.visual.") for name in moved)
    assert same(state(base), before)


def test_batches_without_a_mask_are_refused(base: Any) -> None:
    from limner.parts.objectives import denoising

    recipe = methods()["visconet"](Subject("<nobody>", "toy"), batch=2)
    stage = replace(recipe.pretraining[0], loss=(denoising(pairs(batch=2, corpus=toys(2))),), steps=1)
    with pytest.raises(InputError, match="outlined=True"):
        list(train(base, Adapter(recipe, "<nobody>"), stages=(stage,), seed=0))
    assert untouched(base)
