"""Layout-Control: boxes for subjects and plain words, by gradient steps or by moved attention."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import limner
from limner.core.adapted import Moment
from limner.core.recipe import Painting, Recipe
from limner.core.regions import region_masks
from limner.core.streams import stream
from limner.core.subject import Subject
from limner.engine.attach import Adapter, attach
from limner.engine.regions import Layout
from limner.engine.sample import PaintSettings, sample
from limner.errors import InputError, UnknownName
from limner.methods import methods
from limner.parts.attention.forward_layout import gaussian
from limner.parts.attention.maps import KEPT, keep_maps
from limner.parts.attention.regions import at_queries
from limner.parts.guidance.layout import layout_guidance, missed
from tests.helpers import learn_fast, same, state

HOW = PaintSettings(steps=8, compose="method")
PROMPT = "<rex> and a ball on the beach"
BOXES = {"rex": (0, 0.3, 0.4, 1), "ball": (0.6, 0.4, 1, 0.9)}


def layout(base: Any, compose: str = "method") -> Layout:
    masks = region_masks(BOXES, handles=("<rex>",), words=("ball",), size=base.latent_shape[1:])
    return Layout(masks, compose)


def losses(base: Any, recipe: Recipe, *operations: Any) -> Tensor:
    """[seeds]: mean of E over the steps of sampling after these operations on latents."""
    seen: list[Tensor] = []

    def note(moment: Moment) -> Tensor:
        seen.append(missed(moment, moment.latents, range(len(moment.prompts))))
        return moment.latents

    own = Recipe(recipe.says, recipe.modifiers, painting=Painting(latents=(*operations, note)))
    with torch.no_grad(), attach(base, [Adapter(own, "<rex>", noun="dog")]) as adapted:
        list(sample(adapted, [PROMPT] * 2, seeds=range(2), settings=HOW, layout=layout(base)))
    return torch.stack(seen).mean(0)


def test_attention_in_the_boxes_rises_with_the_loss_scale(base: Any, rex: Subject) -> None:
    recipe = methods()["layout_control"](rex)
    (own,) = recipe.painting.latents  # scale 30
    ways = (layout_guidance(scale=0.0), own, layout_guidance(scale=100.0))  # in the same steps
    found = [float(losses(base, recipe, way).mean()) for way in ways]
    assert found[0] > found[1] + 0.003
    assert found[1] > found[2] + 0.003


@pytest.mark.parametrize("strength", [0.0, 0.4, 1.0])
def test_the_forward_variant_moves_a_share_of_attention_inside(base: Any, rex: Subject, strength: float) -> None:
    """This share of the attention of every word with a region is moved into the region."""
    shares = []
    for much in (0.0, strength):
        recipe = methods()["layout_control"](rex, variant="forward", forward_strength=much, until=1.0)
        masks = layout(base).masks
        with torch.no_grad(), attach(base, [Adapter(recipe, "<rex>", noun="dog")]) as adapted:
            places = {name: adapted.handle_places(PROMPT, name) for name in masks}
            about: dict[str, Any] = {"prompts": (adapted.expand_prompt(PROMPT),), "step": 0}
            time, x = torch.tensor([900]), torch.randn(1, *base.latent_shape, generator=stream(0, "x"))
            run = adapted.run(time=time, latents=x, regions=masks, handle_places=(places,), **about)
            run.operations += (keep_maps(),)
            base.predict(x, time, adapted.text_states([PROMPT]), context=run)
        # the first layer: later ones read what it changed
        for maps in [m for n, m in run.activations.items() if n.startswith(KEPT)][:1]:
            for name, own in places.items():
                attention, inside = maps[0][:, list(own)], at_queries(masks[name], maps.shape[1])[:, None]
                heard = attention.sum(0) > 1e-6  # a layer may attend to one other token alone
                shares.append(((attention * inside).sum(0) / attention.sum(0))[heard])
    before, after = (torch.cat(part) for part in (shares[: len(shares) // 2], shares[len(shares) // 2 :]))
    assert torch.allclose(after, before.lerp(torch.ones_like(before), strength), atol=1e-4)


def test_the_gaussian_is_inside_of_its_region() -> None:
    inside = torch.zeros(8, 8)
    inside[2:6, 1:4] = 1
    weight = gaussian(inside.flatten()).view(8, 8)
    assert float(weight.sum()) == pytest.approx(1)
    assert not weight[inside == 0].any()
    assert float(weight[3, 2]) == pytest.approx(float(weight.max()))


@pytest.mark.parametrize("variant", ["backward", "forward"])
def test_without_boxes_the_sampler_is_the_base_s(base: Any, rex: Subject, variant: str) -> None:
    """The same word without the painting part, and no weight changes."""
    before, recipe = state(base), methods()["layout_control"](rex, variant=variant)
    bare = Recipe(recipe.says, recipe.modifiers[:1])
    ends = []
    for own, boxes in ((recipe, None), (bare, None), (recipe, layout(base))):
        with torch.no_grad(), attach(base, [Adapter(own, "<rex>", noun="dog")]) as adapted:
            *_, last = sample(adapted, [PROMPT], seeds=[1], settings=HOW, layout=boxes)
        ends.append(last.latents)
    assert torch.equal(ends[0], ends[1])
    assert not torch.allclose(ends[0], ends[2], atol=1e-3)
    assert same(state(base), before)


def test_plain_words_have_boxes_in_every_way_to_compose(base: Any, rex: Subject) -> None:
    concept = learn_fast(base, "layout_control", rex)
    about: dict[str, Any] = {"concepts": [concept], "seed": 2}
    plain = limner.paint(base, PROMPT, **about, settings=PaintSettings(steps=3))[0]
    for compose in ("method", "attention", "blend"):
        how = PaintSettings(steps=3, compose=compose)
        ways: list[dict[str, Any]] = [{"ball": (0.5, 0, 1, 1)}, {"rex": "left", "ball": (0.5, 0, 1, 1)}]
        for boxes in ways:
            (found,) = limner.paint(base, PROMPT, **about, settings=how, regions=boxes)
            assert found.image.tobytes() != plain.image.tobytes()


def test_boxes_may_stand_among_the_conditions(base: Any, rex: Subject) -> None:
    concept = learn_fast(base, "layout_control", rex)
    boxes: Any = {"rex": "left", "ball": (0.5, 0, 1, 1)}
    about: dict[str, Any] = {"concepts": [concept], "seed": 2, "settings": PaintSettings(steps=2, compose="method")}
    ways: list[dict[str, Any]] = [{"regions": boxes}, {"conditions": {"layout": boxes}}, {}]
    first, second, none = (limner.paint(base, PROMPT, **about, **way)[0] for way in ways)
    assert first.image.tobytes() == second.image.tobytes() != none.image.tobytes()
    assert first.settings == second.settings
    with pytest.raises(InputError, match="regions are given twice"):
        limner.paint(base, PROMPT, regions=boxes, conditions={"layout": boxes}, **about)


def test_boxes_that_cannot_be(base: Any, rex: Subject) -> None:
    concept = learn_fast(base, "layout_control", rex)
    about: dict[str, Any] = {"concepts": [concept], "settings": PaintSettings(steps=2, compose="method")}
    with pytest.raises(InputError, match="the region of ball reaches out of the picture"):
        limner.paint(base, PROMPT, regions={"ball": (0.5, 0, 1.2, 1)}, **about)
    with pytest.raises(UnknownName, match="<boll>"):
        limner.paint(base, PROMPT, regions={"boll": "left"}, **about)
    with pytest.raises(UnknownName, match="variant of layout guidance"):
        methods()["layout_control"](rex, variant="sideways")
