"""TIGIC: a subject pasted into a box of a scene, painted there with the attention of scene and collage."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import limner
from limner.core.subject import Subject
from limner.core.types import AttentionCall, Pass, Site
from limner.engine.attach import Adapter, attach
from limner.engine.inversion import inverted_along
from limner.engine.sample import sample
from limner.engine.steps import PaintStep
from limner.errors import InputError
from limner.methods.condition.li_tuning_free import li_tuning_free
from limner.parts.modifiers.scene_collage import Collage, _mix
from limner.parts.modifiers.source_picture import SWAP
from limner.parts.sources.placing import box_masks
from limner.pocket.subjects import toy

BOX = (0.25, 0.375, 0.75, 0.875)
PROMPT = "a photo of <rex>"


@pytest.fixture(scope="module")
def given(base: Any) -> dict[str, Tensor]:
    """A scene with another toy, and a box in it."""
    scene = toy("car", 2_000_021, count=1).tensor(base.picture_size)
    return {"source": scene, "mask": box_masks(torch.tensor([BOX]), base.picture_size)}


def steps_of(
    base: Any, subject: Subject, conditions: dict[str, Tensor], *, prompt: str = PROMPT, steps: int = 6, **about: Any
) -> list[PaintStep]:
    settings = limner.PaintSettings(steps=steps)
    with torch.no_grad(), attach(base, [Adapter(li_tuning_free(subject, **about), "<rex>", noun="dog")]) as adapted:
        return list(sample(adapted, [prompt], seeds=[3], settings=settings, conditions=conditions))


def begun(base: Any, subject: Subject, conditions: dict[str, Tensor], **about: Any) -> Collage:
    """Scene, collage and reference of a sampling."""
    found: list[Collage] = []

    def keep(call: AttentionCall) -> AttentionCall:
        if SWAP in call.run.sampling.state and not found:
            found.append(call.run.sampling.state[SWAP])
        return call

    recipe = li_tuning_free(subject, **about)
    recipe = replace(recipe, painting=replace(recipe.painting, operations=(keep,)))
    with torch.no_grad(), attach(base, [Adapter(recipe, "<rex>", noun="dog")]) as adapted:
        next(sample(adapted, [PROMPT], seeds=[3], settings=limner.PaintSettings(steps=6), conditions=conditions))
    return found[0]


def lost(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).square().mean() / wanted.square().mean())


def test_outside_of_the_box_every_step_is_the_scenes(base: Any, rex: Subject, given: dict[str, Tensor]) -> None:
    times = base.scheduler("dpm", steps=6).timesteps
    with torch.no_grad():
        clean, states = base.encode(given["source"])[0], base.text_states([""], words={})

        def predict(x: Tensor, at: Tensor) -> Tensor:
            output: Tensor = base.predict(x, at, states, context=Pass(time=at))
            return output

        way = inverted_along(base, predict, clean, times, order=2)
    outside = (box_masks(torch.tensor([BOX]), clean.shape[-1]) == 0).expand_as(clean)
    steps = steps_of(base, rex, given)
    for done, step in enumerate(steps, 1):
        assert torch.allclose(step.latents[outside], way[done][outside], atol=1e-4)
        assert not torch.allclose(step.latents[~outside], way[done][~outside], atol=1e-2)
    assert torch.allclose(steps[-1].latents[outside], clean[outside], atol=1e-5)


def test_the_text_changes_the_inserted_subject_alone(base: Any, rex: Subject, given: dict[str, Tensor]) -> None:
    plain, changed = (
        steps_of(base, rex, given, prompt=f"{PROMPT}{more}")[-1].latents for more in ("", " in a red hat")
    )
    outside = (box_masks(torch.tensor([BOX]), plain.shape[-1]) == 0).expand_as(plain)
    assert torch.equal(plain[outside], changed[outside])
    assert not torch.allclose(plain, changed, atol=1e-2)


def test_sampling_starts_from_three_noises(base: Any, rex: Subject, given: dict[str, Tensor]) -> None:
    """The scene's outside of the box, Gaussian in it, the reference's where the subject was pasted."""
    from limner.core.streams import stream

    starts: list[Tensor] = []

    def keep(call: AttentionCall) -> AttentionCall:
        if call.run.step == 0 and call.run.latents is not None:
            starts.append(call.run.latents[:1])
        return call

    state, recipe = begun(base, rex, given), li_tuning_free(rex)
    recipe = replace(recipe, painting=replace(recipe.painting, operations=(keep,)))
    with torch.no_grad(), attach(base, [Adapter(recipe, "<rex>", noun="dog")]) as adapted:
        next(sample(adapted, [PROMPT], seeds=[3], settings=limner.PaintSettings(steps=6), conditions=given))
    gauss = torch.randn(base.latent_shape, generator=stream(3, "latents"))[None]
    box, subject = (mask.bool().expand_as(gauss) for mask in (state.box, state.subject))
    start = starts[0]
    assert torch.allclose(start[~box], state.scene[0][~box], atol=1e-4)
    assert torch.allclose(start[subject], state.reference[0][subject], atol=1e-4)
    assert torch.allclose(start[box & ~subject], gauss[box & ~subject], atol=1e-4)
    assert 0 < int(subject.sum()) < int(box.sum())


def test_the_reference_keeps_the_subjects_appearance(base: Any, rex: Subject, given: dict[str, Tensor]) -> None:
    """Nearer to the collage with its logits than without them, and with neither than with none."""
    state = begun(base, rex, given)
    inside = state.subject.bool().expand_as(state.collage[-1])
    found = [
        steps_of(base, rex, given, background_until=0.0, reference_from=0.0, reference_until=until, steps=8)[-1].latents
        for until in (1.0, 0.0)
    ]
    errors = [lost(latents[inside], state.collage[-1][inside]) for latents in found]
    assert errors[0] < 0.95 * errors[1]


@pytest.mark.parametrize("weights", [(0.5, 0.5, 0.0), (0.25, 0.25, 0.5), (0.5, 0.0, 0.5)])
def test_logits_are_mixed_before_the_softmax(base: Any, weights: tuple[float, float, float]) -> None:
    """Against the softmax of summed logits; the negative branch keeps its own."""
    random = torch.Generator().manual_seed(0)

    def draw(rows: int) -> Tensor:
        return torch.randn(rows, 2, 9, 4, generator=random)

    site = Site("layer", "self", "up", 0)
    query, key, value, scene, collage = draw(2), draw(2), draw(2), (draw(1), draw(1)), (draw(1), draw(1))
    run: Any = Pass(branches=("negative", "text"))
    hidden: Any = None
    call = AttentionCall(site, torch.nn.Identity(), hidden, hidden, query, key, value, run)
    nothing: Any = torch.zeros(1)
    state = Collage(nothing, *[nothing] * 5)
    state.recorded["layer"] = torch.cat([scene[0], collage[0]]), torch.cat([scene[1], collage[1]])
    _mix(call, state, weights)
    found = torch.nn.functional.scaled_dot_product_attention(call.query, call.key, call.value)

    def logits(q: Tensor, k: Tensor) -> Tensor:
        return q @ k.mT / 2

    pairs = ((query[1:], key[1:]), scene, collage)
    mixed = sum(weight * logits(*pair) for weight, pair in zip(weights, pairs, strict=True))
    assert isinstance(mixed, Tensor)
    assert torch.allclose(found[1:], mixed.softmax(-1) @ value[1:], atol=1e-5)
    assert torch.allclose(found[:1], logits(query[:1], key[:1]).softmax(-1) @ value[:1], atol=1e-5)


def test_the_steps_of_background_and_reference() -> None:
    part: Any = li_tuning_free(Subject("<rex>", "dog")).modifiers[0]
    weights = [part.weights(step, 20) for step in range(20)]
    assert weights[0] == (0.5, 0.5, 0.0)
    assert weights[4] == (0.25, 0.25, 0.5)
    assert weights[10:] == [(1.0, 0.0, 0.0)] * 10


def test_the_subject_goes_into_the_middle_of_its_box(base: Any, rex: Subject, given: dict[str, Tensor]) -> None:
    wide = {**given, "mask": box_masks(torch.tensor([[0.0, 0.5, 1.0, 1.0]]), base.picture_size)}
    state = begun(base, rex, wide)
    rows, columns = (state.subject[0, 0] > 0).nonzero().unbind(1)
    side = state.subject.shape[-1]
    assert int(rows.min()) >= side // 2
    assert side // 4 <= int(columns.min()) <= int(columns.max()) < side * 3 // 4
    nowhere = begun(base, rex, {})
    assert nowhere.box[0, 0, side // 2, side // 2] == 1
    assert nowhere.box[0, 0, 0, 0] == 0


def test_what_is_wrong_is_said(base: Any, rex: Subject, given: dict[str, Tensor]) -> None:
    scene, mask = given["source"], given["mask"]
    for conditions, said in (
        ({"mask": mask}, "a mask was given without the picture"),
        ({"source": scene, "mask": 0 * mask}, "is empty: expected white"),
        ({"source": scene, "mask": 0 * mask + 1}, "white everywhere"),
    ):
        with pytest.raises(InputError, match=said):
            steps_of(base, rex, conditions)
    with pytest.raises(InputError, match="the last two in this order"):
        steps_of(base, rex, given, reference_from=0.6)
