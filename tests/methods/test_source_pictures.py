"""A subject put into a source picture: PhotoSwap and SwapAnything."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

import limner
from limner.core.recipe import Recipe
from limner.core.subject import Subject
from limner.core.types import AttentionCall
from limner.engine.attach import Adapter, attach
from limner.engine.sample import sample
from limner.engine.steps import PaintStep
from limner.errors import InputError
from limner.methods.condition import photoswap as of_photoswap
from limner.methods.condition import swapanything as of_swapanything
from limner.parts.attention.swapped import aligned_places, with_statistics
from limner.parts.modifiers.source_masks import softened
from limner.pocket.subjects import toy

PROMPT = "a photo of <rex> on the beach"
# one update of the null-text inversion for each step: only the test of the source that comes back needs more
photoswap = partial(of_photoswap.photoswap, null_text_steps=1)
swapanything = partial(of_swapanything.swapanything, null_text_steps=1)
EVERYWHERE: dict[str, Any] = {"cross": 1.0, "self_output": 1.0, "self_map": 0.0}
NOWHERE: dict[str, Any] = {"cross": 0.0, "self_output": 0.0, "self_map": 0.0}


@pytest.fixture(scope="module")
def photo(base: Any) -> Tensor:
    """A picture of another toy dog. # [1, 3, H, W]"""
    return toy("dog", 2_000_099, count=1).tensor(base.picture_size)


@pytest.fixture(scope="module")
def mask(base: Any) -> Tensor:
    """The lower right quarter and a little more. # [1, 1, H, W]"""
    side = base.picture_size
    where = torch.zeros(1, 1, side, side)
    where[..., side * 7 // 16 :, side * 7 // 16 :] = 1
    return where


def steps_of(
    base: Any,
    recipe: Recipe,
    conditions: dict[str, Tensor],
    *,
    steps: int = 4,
    guidance: float = 5.0,
    prompt: str = PROMPT,
    more: Any = (),
) -> list[PaintStep]:
    recipe = replace(recipe, painting=replace(recipe.painting, operations=tuple(more)))
    settings = limner.PaintSettings(steps=steps, guidance=guidance)
    with torch.no_grad(), attach(base, [Adapter(recipe, "<rex>", noun="dog")]) as adapted:
        return list(sample(adapted, [prompt], seeds=[3], settings=settings, conditions=conditions))


def painted(base: Any, recipe: Recipe, conditions: dict[str, Tensor], **about: Any) -> Tensor:
    return steps_of(base, recipe, conditions, **about)[-1].latents


def lost(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).square().mean() / wanted.square().mean())


def encoded(base: Any, photo: Tensor) -> Tensor:
    with torch.no_grad():
        latents: Tensor = base.encode(photo)[0]
    return latents


def never_blended(subject: Subject, **about: Any) -> Recipe:
    return photoswap(subject, blend_from=1.0, **about)


# --------------------------------------------------------------------------------------------------------- PhotoSwap


def test_the_source_comes_back_where_all_is_swapped_and_the_prompts_agree(
    base: Any, rex: Subject, photo: Tensor
) -> None:
    """Without a mask. Null-text inversion is needed for it: DDIM alone does not come back under guidance."""
    recipes = [never_blended(rex, **EVERYWHERE, null_text_steps=n) for n in (10, 0)]
    found = [painted(base, recipe, {"source": photo}, prompt="a photo of a dog", steps=6) for recipe in recipes]
    errors = [lost(latents, encoded(base, photo)) for latents in found]
    assert errors[0] < 0.1
    assert errors[1] > 3 * errors[0]


def test_the_exact_inversion_of_guided_sampling_needs_no_null_text(base: Any, rex: Subject, photo: Tensor) -> None:
    about: dict[str, Any] = {"prompt": "a photo of a dog", "steps": 6, "guidance": 3.0}
    errors = {}
    for name, rounds in (("exact", 0), ("ddim", 10), ("ddim", 0)):
        recipe = never_blended(rex, **EVERYWHERE, inversion=name, null_text_steps=rounds)
        errors[name, rounds] = lost(painted(base, recipe, {"source": photo}, **about), encoded(base, photo))
    assert errors["exact", 0] < 0.3 * errors["ddim", 10]
    assert errors["exact", 0] < 0.2 * errors["ddim", 0]
    with pytest.raises(InputError, match="there is no inversion 'exakt'; did you mean 'exact'"):
        photoswap(rex, inversion="exakt")


def test_the_shares_of_the_steps_keep_the_source(base: Any, rex: Subject, photo: Tensor) -> None:
    """The more is taken from the source, the nearer the picture is to it, though the prompt names the subject."""
    clean = encoded(base, photo)
    near = [
        lost(painted(base, never_blended(rex, **about), {"source": photo}), clean) for about in (EVERYWHERE, NOWHERE)
    ]
    assert near[0] < 0.7 * near[1]


def test_outputs_and_maps_are_the_sources_up_to_their_shares(base: Any, rex: Subject, photo: Tensor) -> None:
    """In the prompt's branch; the negative branch keeps its own."""
    seen: dict[tuple[int | None, str], list[Tensor]] = {}

    def keep(call: AttentionCall) -> AttentionCall:
        def out(output: Tensor) -> Tensor:
            seen.setdefault((call.run.step, call.site.name), []).append(output.clone())
            return output

        if call.site.kind == "self":
            call.on_output.append(out)
        return call

    recipe = never_blended(rex, cross=0.4, self_output=0.4, self_map=0.0, null_text_steps=0)
    watched = replace(recipe, modifiers=(*recipe.modifiers, _watching(keep)))
    steps_of(base, watched, {"source": photo}, steps=5)
    names = {name for step, name in seen if step == 0}
    source = {name: outputs for (step, name), outputs in seen.items() if step is None}
    assert names
    for name in names:
        for step in range(5):
            negative, text = seen[step, name][0]
            # runs of the source without a step: the last of each step is the recorded one
            same = any(torch.allclose(text, output[0], atol=1e-5) for output in source[name])
            assert same == (step < 2), (step, name)
            assert not any(torch.allclose(negative, output[0], atol=1e-5) for output in source[name])


def _watching(operation: Any) -> Any:
    from contextlib import contextmanager

    from limner.core.types import Live

    @contextmanager
    def modifier(base: Any, **about: Any) -> Any:
        yield Live(operations=(operation,))

    return modifier


def test_outside_of_the_blended_mask_the_source_stays(
    base: Any, rex: Subject, photo: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from limner.parts.attention.swapped import attended

    masks: list[Tensor | None] = []
    where = attended.__call__

    def noted(self: attended, swap: Any, moment: Any) -> Tensor | None:
        masks.append(where(self, swap, moment))
        return masks[-1]

    monkeypatch.setattr(attended, "__call__", noted)
    last = painted(base, photoswap(rex, **NOWHERE), {"source": photo}, steps=5)
    assert masks[0] is None
    mask = masks[-1]
    assert mask is not None
    outside = (mask == 0).expand_as(last)
    assert 0.1 < float(outside.float().mean()) < 0.95
    clean = encoded(base, photo)
    assert torch.equal(last[outside], clean[outside])
    assert lost(last[~outside], clean[~outside]) > 0.05


def test_without_a_source_the_base_paints_one(base: Any, rex: Subject) -> None:
    first = painted(base, photoswap(rex), {})
    assert not torch.allclose(first, painted(base, photoswap(rex, source_noun="car"), {}), atol=1e-2)
    same = painted(base, never_blended(rex, **EVERYWHERE), {}, prompt="a photo of a dog")
    settings = limner.PaintSettings(steps=4, guidance=5.0)
    with torch.no_grad(), attach(base, ()) as adapted:
        *_, last = sample(adapted, ["a photo of a dog"], seeds=[3], settings=settings)
    assert torch.allclose(same, last.latents, atol=1e-2)


def test_shared_words_are_aligned(base: Any) -> None:
    source, target = "a photo of a cat on the beach", "a photo of sks dog on the beach"
    aligned = aligned_places(base, source, target, {}).tolist()
    ends = [1 + base.num_tokens(text, words={}) for text in (source, target)]
    assert aligned[:4] == [0, 1, 2, 3]
    first, second = (1 + base.num_tokens(text.partition(" on")[0], words={}) for text in (source, target))
    assert set(aligned[4:second]) == {-1}
    assert aligned[second : second + 3] == [first, first + 1, first + 2]
    assert aligned[ends[1]] == ends[0]


# ------------------------------------------------------------------------------------------------------ SwapAnything


def test_outside_of_the_softened_mask_every_step_is_the_sources(
    base: Any, rex: Subject, photo: Tensor, mask: Tensor
) -> None:
    """Whatever is painted inside: two subjects' noise, the same context."""
    given = {"source": photo, "mask": mask}
    first, second = (
        steps_of(base, swapanything(rex, **about), given) for about in ({}, {"adapt": 0.0, "dilate": 0.0, **NOWHERE})
    )
    soft = softened(torch.nn.functional.adaptive_avg_pool2d(mask, 16).round(), 0.0625, 0.1875)
    outside = (soft == 0).expand_as(first[0].latents)
    assert float(outside.float().mean()) > 0.3
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.latents[outside], other.latents[outside])
        assert not torch.allclose(one.latents, other.latents, atol=1e-3)
    assert torch.equal(first[-1].latents[outside], encoded(base, photo)[outside])


def test_the_statistics_inside_are_the_sources() -> None:
    x, like = torch.randn(2, 3, 4, 4), 5 + 3 * torch.randn(2, 3, 4, 4)
    inside = torch.zeros(1, 1, 4, 4)
    inside[..., :2] = 1
    found, wanted = (y[..., :2].flatten(1) for y in (with_statistics(x, like, inside), like))
    assert torch.allclose(found.mean(1), wanted.mean(1), atol=1e-4)
    assert torch.allclose(found.std(1), wanted.std(1), atol=1e-3)


def test_appearance_adaptation_changes_the_inside_alone(base: Any, rex: Subject, photo: Tensor, mask: Tensor) -> None:
    given = {"source": photo, "mask": mask}
    plain, adapted = (
        painted(base, swapanything(rex, adapt=adapt, dilate=0.0, blur=0.0), given) for adapt in (0.0, 1.0)
    )
    clean = encoded(base, photo)
    inside = torch.nn.functional.adaptive_avg_pool2d(mask, 16).round().bool().expand_as(clean)
    off = [abs(float(x[inside].std() / clean[inside].std()) - 1) for x in (plain, adapted)]
    assert off[1] < off[0]
    assert off[1] < 0.02
    assert not torch.allclose(plain[inside], adapted[inside], atol=1e-2)


def test_a_partial_mask_changes_its_part_alone(base: Any, rex: Subject, photo: Tensor) -> None:
    side = base.picture_size
    hat = torch.zeros(1, 1, side, side)
    hat[..., : side // 8, side // 2 : side * 5 // 8] = 1
    last = painted(base, swapanything(rex, source_noun="hat", dilate=0.0, blur=0.0), {"source": photo, "mask": hat})
    changed = (last - encoded(base, photo)).abs().amax(1)[0] > 0
    assert changed.nonzero().tolist()
    assert not changed[2:].any()
    assert not changed[:, 10:].any()
    assert not changed[:, :8].any()


def test_insertion_replaces_nothing(base: Any, rex: Subject, photo: Tensor, mask: Tensor) -> None:
    last = painted(base, swapanything(rex, source_noun="nothing"), {"source": photo, "mask": mask})
    assert lost(last, encoded(base, photo)) > 0.01


def test_the_segmenter_finds_the_part_where_no_mask_is_given(base: Any, rex: Subject, photo: Tensor) -> None:
    last, clean = painted(base, swapanything(rex), {"source": photo}), encoded(base, photo)
    changed = (last - clean).abs().amax(1) > 1e-4
    assert 0.05 < float(changed.float().mean()) < 0.95
    found = torch.nn.functional.adaptive_avg_pool2d((base.segmenter(photo) > 0.5).float()[:, None], 16) > 0.9
    assert changed[found[:, 0]].all()


def test_the_soft_edge_ends(base: Any) -> None:
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 8:, 8:] = 1
    soft = softened(mask, 0.0625 * 2, 0.1875)
    assert torch.equal(soft[mask == 1], torch.ones(64))
    row = soft[0, 0, 12]
    assert (row[:6] == 0).all()
    assert 0 < float(row[6]) < float(row[7]) <= 1
    assert torch.equal(softened(mask, 0.0, 0.0), mask)


# ---------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("method", [photoswap, swapanything], ids=["photoswap", "swapanything"])
def test_what_is_wrong_with_a_source_is_said(base: Any, rex: Subject, photo: Tensor, mask: Tensor, method: Any) -> None:
    with pytest.raises(InputError, match="does not name the cat that is to be replaced"):
        painted(base, method(rex, source_noun="cat", source_prompt="a photo of a tree"), {"source": photo})
    with pytest.raises(InputError, match="a mask was given without the picture"):
        painted(base, method(rex), {"mask": mask})
    with pytest.raises(InputError, match="is empty: expected white"):
        painted(base, method(rex), {"source": photo, "mask": 0 * mask})
    with pytest.raises(InputError, match="white everywhere"):
        painted(base, method(rex), {"source": photo, "mask": 0 * mask + 1})
    with pytest.raises(InputError, match="has shape"):
        painted(base, method(rex), {"source": photo, "mask": mask[..., ::2, ::2]})
    with pytest.raises(InputError, match="cross is a share from 0 to 1"):
        painted(base, method(rex, cross=1.5), {"source": photo})


def test_a_source_without_a_subject_needs_a_mask(base: Any, rex: Subject) -> None:
    blank = torch.full((1, 3, base.picture_size, base.picture_size), 0.5)
    with pytest.raises(InputError, match="no subject was found in the source picture"):
        painted(base, swapanything(rex), {"source": blank})


def test_two_subjects_cannot_enter_one_source_at_once(base: Any, rex: Subject, photo: Tensor) -> None:
    adapters = [Adapter(swapanything(replace(rex, handle=name)), name, noun="dog") for name in ("<rex>", "<bo>")]
    with attach(base, adapters) as adapted, pytest.raises(InputError, match="paint one after the other"):
        list(sample(adapted, ["<rex> and <bo>"], seeds=[0], settings=limner.PaintSettings(steps=2)))
