"""A first pass by the base alone gives the layout of a picture: what both passes share, and who predicts what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from limner.core.adapted import FirstPicture
from limner.core.recipe import FirstPass, Painting, Recipe
from limner.core.types import AttentionCall, AttentionOp
from limner.engine.attach import Adapter, attach
from limner.engine.sample import PaintSettings, sample
from limner.engine.steps import PaintStep
from limner.errors import InputError
from limner.parts.modifiers import low_rank, new_word

PROMPT = "a photo of <a> and <b> on the beach"
HOW = PaintSettings(steps=4, guidance=2.0)


def left_and_right(first: FirstPicture) -> dict[str, Tensor]:
    masks = torch.zeros(2, 1, 1, *first.latents.shape[-2:])
    half = first.latents.shape[-1] // 2
    masks[0, ..., : half // 2], masks[1, ..., half:] = 1, 1
    return {h: mask for h, mask in zip(("<a>", "<b>"), masks, strict=True) if h in first.prompt}


PASSES = FirstPass(left_and_right, begin=0.5)


def adapter(base: Any, seed: int, handle: str, noun: str, passes: FirstPass | None = PASSES) -> Adapter:
    """A word and a low-rank change that do something."""
    recipe = Recipe(f"{handle} {noun}", (new_word(handle, noun), low_rank(2)), painting=Painting(first_pass=passes))
    draw = torch.Generator().manual_seed(seed)
    with attach(base, (Adapter(recipe, handle),)) as adapted:
        stored = {name: 0.2 * torch.randn(t.shape, generator=draw) for name, t in adapted.tensors.items()}
    return Adapter(recipe, handle, stored, noun=noun)


@pytest.fixture(scope="module")
def pair(base: Any) -> tuple[Adapter, Adapter]:
    return adapter(base, 1, "<a>", "dog"), adapter(base, 2, "<b>", "car", None)


def steps(base: Any, adapters: Any, prompts: list[str], seeds: list[int], **more: Any) -> list[PaintStep]:
    with torch.no_grad(), attach(base, adapters) as adapted:
        return list(sample(adapted, prompts, seeds=seeds, settings=HOW, **more))


def test_the_first_pass_is_the_base_and_the_second_goes_on_from_it(base: Any, pair: Any) -> None:
    both = steps(base, pair, [PROMPT], [3])
    plain = steps(base, (), ["a photo of dog and car on the beach"], [3])
    assert [(at.step, at.total) for at in both] == [(k, 6) for k in range(6)]
    assert all(torch.allclose(a.latents, b.latents, atol=1e-5) for a, b in zip(both, plain, strict=False))
    assert not torch.allclose(both[-1].latents, plain[-1].latents, atol=1e-2)
    after = left_and_right(FirstPicture(None, PROMPT, plain[0].latents, plain[0].latents, {}))  # type: ignore[arg-type]
    moved = (both[4].latents - plain[2].latents).abs().amax((0, 1))
    covered = sum(after.values()).bool()[0, 0]  # type: ignore[union-attr]
    # one step after both passes part, positions outside of all regions are the base's still
    assert float(moved[~covered].max()) < 1e-5
    assert float(moved[covered].min()) > 1e-4


def test_pictures_of_a_batch_are_those_painted_alone(base: Any, pair: Any) -> None:
    """One prompt names both subjects, one a single one, and one none, which is the base's picture."""
    prompts, seeds = [PROMPT, "a photo of <b>", "a boat"], [3, 4, 5]
    batch = steps(base, pair, prompts, seeds)[-1].latents
    for k in range(3):
        (*_, alone) = steps(base, pair, prompts[k : k + 1], seeds[k : k + 1])
        assert torch.allclose(batch[k : k + 1], alone.latents, atol=1e-4)
    (*_, plain) = steps(base, (), ["a boat"], [5])
    assert torch.allclose(batch[2:], plain.latents, atol=1e-4)


def test_clean_latents_are_those_of_the_pass_that_samples(base: Any, pair: Any) -> None:
    with torch.no_grad(), attach(base, pair) as adapted:
        both = list(sample(adapted, [PROMPT, "a boat"], seeds=[3, 5], settings=HOW))
        clean = [at.clean() for at in both]
    # the second pass goes on at its first step, and its last one ends as the pictures
    first, last = both[3].latents, both[-1].latents
    assert float((clean[3] - first).abs().mean()) < 0.05
    assert float((clean[-1] - last).abs().mean()) < 0.05
    assert float((clean[-1][0] - clean[3][0]).abs().mean()) > 0.05
    assert (clean[-1][1] == first[1]).all()


def test_runs_of_the_base_follow_the_first_pass_at_the_same_step(base: Any, pair: Any) -> None:
    """The following operation acts beside rows of the first pass, and in no run with a concept."""
    rows: list[tuple[int | None, Tensor]] = []
    watched: list[dict[str, Tensor]] = []

    def follow(total: int) -> AttentionOp:
        assert total == 4

        def operation(call: AttentionCall) -> AttentionCall:
            assert call.run.parallel_stream
            assert not any(live.on for live in call.run.lives)
            assert call.run.latents is not None
            rows.append((call.run.step, call.run.latents))
            return call

        return operation

    def watch(activations: dict[str, Tensor]) -> AttentionOp:
        watched.append(activations)

        def operation(call: AttentionCall) -> AttentionCall:
            activations["queries"] = call.query[-1:].mean((1, 2, 3))
            return call

        return operation

    def regions(first: FirstPicture) -> Mapping[str, Tensor]:
        assert first.activations["queries"].shape == (1,)
        assert first.pixels.shape == (1, 3, base.picture_size, base.picture_size)
        return left_and_right(first)

    passes = FirstPass(regions, begin=0.5, watch=watch, follow=follow)
    plain = steps(base, (), ["a photo of dog and car on the beach"], [3])
    steps(base, (adapter(base, 1, "<a>", "dog", passes), pair[1]), [PROMPT], [3])
    assert len(watched) == 1
    assert {step for step, _ in rows} == {2, 3}
    for step, latents in rows:
        assert len(latents) == 4  # the picture and its first pass, in two branches
        assert step is not None
        assert torch.allclose(latents[[1, 3]], plain[step - 1].latents.expand(2, -1, -1, -1), atol=1e-5)
    (*_, last) = rows
    assert not torch.allclose(last[1][0], last[1][1], atol=1e-3)


def test_a_region_can_have_a_prompt_of_its_own(base: Any, pair: Any) -> None:
    """With its own prompt, a subject's region is what that prompt alone paints with its concept."""
    own = FirstPass(left_and_right, begin=0.0, prompt=lambda prompt, handle: f"a photo of {handle}")
    (_, _, _, _, first, *_) = steps(base, (adapter(base, 1, "<a>", "dog", own), pair[1]), [PROMPT], [3])
    one = HOW.__class__(steps=4, guidance=2.0)
    with torch.no_grad(), attach(base, [pair[1]]) as adapted:
        alone = next(iter(sample(adapted, ["a photo of <b>"], seeds=[3], settings=one)))
    half = base.latent_shape[-1] // 2
    assert torch.allclose(first.latents[..., half:], alone.latents[..., half:], atol=1e-4)


@pytest.mark.parametrize("sampler", ["ddim", "euler", "ddpm", "dpm"])
def test_every_sampler_goes_on(base: Any, pair: Any, sampler: str) -> None:
    """A concept of no effect changes nothing: the second pass then ends where the first does, if no noise is drawn."""
    off = [replace(each, stored={}) for each in pair]
    how = replace(HOW, sampler=sampler)
    with torch.no_grad(), attach(base, off) as adapted:
        found = list(sample(adapted, ["a photo of <a> and <b>"], seeds=[3], settings=how))
    assert all(bool(at.latents.isfinite().all()) for at in found)
    if sampler in ("ddim", "euler"):
        both = [at.latents[..., base.latent_shape[-1] // 4 : base.latent_shape[-1] // 2] for at in found]
        assert torch.allclose(both[4], both[2], atol=1e-3)


def test_what_cannot_be_sampled_twice(base: Any, pair: Any) -> None:
    with pytest.raises(InputError, match="<a> and <c> each ask for a first pass with settings of their own"):
        steps(base, (pair[0], adapter(base, 3, "<c>", "dog", replace(PASSES, begin=0.25))), [PROMPT], [3])
    assert steps(base, (pair[0], adapter(base, 3, "<b>", "dog")), ["<a> and <b>"], [3])
    streams: Callable[[str], str] = str
    own = replace(pair[1], recipe=replace(pair[1].recipe, painting=Painting(parallel_stream=streams)))
    with pytest.raises(InputError, match="<b> has a way of sampling of its own .parallel_stream."):
        steps(base, (pair[0], own), [PROMPT], [3])
    with pytest.raises(ValueError, match="from 0 to below 1"):
        FirstPass(left_and_right, begin=1.0)
