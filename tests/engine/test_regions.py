"""Several subjects in regions: who predicts what, and where words are read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import limner
from limner.core.recipe import Painting, Recipe
from limner.core.regions import region_masks
from limner.core.types import AttentionCall, Pass
from limner.engine.attach import Adapter, attach
from limner.engine.regions import Layout, parts_of
from limner.engine.sample import PaintSettings, _guided, _plain, sample
from limner.errors import InputError, PromptError
from limner.parts.attention import kept_to_regions, regions_of
from limner.parts.modifiers import low_rank, new_word

SAID = "a photo of <a> and <b> on the beach"


def adapter(base: Any, seed: int, handle: str, noun: str) -> Adapter:
    """A word and a low-rank change that do something."""
    recipe = Recipe(f"{handle} {noun}", (new_word(handle, noun), low_rank(2, "cross_attention_kv")))
    draw = torch.Generator().manual_seed(seed)
    with attach(base, (Adapter(recipe, handle),)) as adapted:
        stored = {name: 0.3 * torch.randn(t.shape, generator=draw) for name, t in adapted.tensors.items()}
    return Adapter(recipe, handle, stored, noun=noun)


@pytest.fixture(scope="module")
def pair(base: Any) -> tuple[Adapter, Adapter]:
    return adapter(base, 1, "<a>", "dog"), adapter(base, 2, "<b>", "car")


def layout(base: Any, **more: Any) -> Layout:
    size = base.latent_shape[1:]
    masks = region_masks({"a": (0, 0, 0.5, 1), "b": (0.5, 0, 1, 0.5)}, handles=("<a>", "<b>"), size=size)
    return Layout(masks, operations=(kept_to_regions(),), **more)


def predicted(base: Any, adapters: Any, prompt: str, where: Layout | None) -> Tensor:
    """The guided denoiser's output for fixed latents."""
    x = torch.randn(1, *base.latent_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), attach(base, adapters) as adapted:
        denoise = _guided(_plain(adapted, [prompt], [0], PaintSettings(steps=2), None, {}, 1, where))
        return denoise.at(0, x, torch.tensor([500]), guided=True)


@pytest.mark.parametrize("background", ["base", "all"])
def test_every_region_is_predicted_by_its_own_concept(base: Any, pair: Any, background: str) -> None:
    """Without operations in attention a blended prediction is, place by place, that of the one concept, of the base, or
    of all."""
    where = replace(layout(base, background=background), operations=())
    blend = predicted(base, pair, SAID, where)
    alone = {
        "<a>": predicted(base, pair[:1], SAID.replace("<b>", "car"), None),
        "<b>": predicted(base, pair[1:], SAID.replace("<a>", "dog"), None),
        "rest": predicted(base, pair, SAID, None)
        if background == "all"
        else predicted(base, (), "a photo of dog and car on the beach", None),
    }
    weights = {**where.masks, "rest": 1 - torch.stack(list(where.masks.values())).sum(0)}
    wanted = torch.stack([weights[name] * alone[name] for name in alone]).sum(0)
    assert torch.allclose(blend, wanted, atol=1e-4)
    assert not torch.allclose(blend, predicted(base, pair, SAID, None), atol=1e-2)


def test_weights_of_all_parts_sum_to_one(base: Any, pair: Any) -> None:
    with attach(base, pair) as adapted:
        parts = parts_of(adapted, layout(base))
        assert [part.places for part in parts] == [(0,), (1,), ()]
        whole = region_masks({"a": "left", "b": "right"}, handles=("<a>", "<b>"), size=base.latent_shape[1:])
        assert len(parts_of(adapted, Layout(whole))) == 2  # nothing is left for the background
    total = torch.stack([part.weight for part in parts]).sum(0)
    assert torch.allclose(total, torch.ones_like(total), atol=1e-6)


def test_what_has_no_place_acts_in_every_region(base: Any, pair: Any) -> None:
    """A control branch or a style is in every part; a region of its own makes it a subject."""
    style = replace(adapter(base, 3, "<s>", "style"), everywhere=True)
    with attach(base, (*pair, style)) as adapted:
        assert [part.places for part in parts_of(adapted, layout(base))] == [(0, 2), (1, 2), (2,)]
        own = Layout(region_masks({"a": "left", "s": "right"}, handles=("<a>", "<s>"), size=base.latent_shape[1:]))
        assert [part.places for part in parts_of(adapted, own)] == [(0,), (2,)]


def test_a_region_is_painted_against_the_negative_of_its_own_concept(base: Any, pair: Any) -> None:
    """The words of a concept that does not act are unknown to the base in its negative prompt as well."""
    own = [
        replace(each, recipe=replace(each.recipe, painting=Painting(negative=f"{each.handle} in the dark")))
        for each in pair
    ]
    with attach(base, own) as adapted:
        assert adapted.negative == "<a> in the dark, <b> in the dark"
        with adapted.only(1):
            assert adapted.negative == "<b> in the dark"
    blend = predicted(base, own, SAID, replace(layout(base), operations=()))
    alone = predicted(base, own[:1], SAID.replace("<b>", "car"), None)
    left = layout(base).masks["<a>"] == 1
    assert torch.allclose((blend * left), (alone * left), atol=1e-4)


def test_words_are_read_within_their_regions_alone(base: Any, pair: Any) -> None:
    """Exact zeros of attention to a handle's words outside its region, in every cross-attention layer; its sum is 1
    still."""
    outside: list[float] = []
    inner: list[float] = []

    def look(call: AttentionCall) -> AttentionCall:
        where = regions_of(call)

        def keep(maps: Tensor) -> Tensor:
            for row, queries, keys, inside in where:
                own = maps[row][:, queries, keys].sum(-1)  # [H, N]
                outside.append(float(own[:, inside == 0].abs().max()))
                inner.append(float(own[:, inside == 1].max()))
            assert torch.allclose(maps.sum(-1), torch.ones_like(maps.sum(-1)), atol=1e-4)
            return maps

        if where:
            call.on_maps.append(keep)
        return call

    for operations, zero in (((kept_to_regions(), look), True), ((look,), False)):
        outside.clear()
        predicted(base, pair, SAID, replace(layout(base, compose="attention"), operations=operations))
        assert len(outside) >= 2
        assert (max(outside) == 0) is zero
        assert max(inner) > 0.01


def test_places_are_those_of_the_words_that_are_read(base: Any, pair: Any) -> None:
    with attach(base, pair) as adapted:
        places = adapted.handle_places("a <a> next to <b>", "<a>")
        assert places == (2, 3)  # begin, a, word and noun
        assert adapted.handle_places("a <a> next to <b>", "<b>") == (6, 7)
        assert adapted.handle_places("a <a>", "<b>") == ()
        with adapted.only(1):
            assert adapted.handle_places("a <a> next to <b>", "<a>") == (2,)
            assert adapted.handle_places("a <a> next to <b>", "<b>") == (5, 6)


def latents(base: Any, pair: Any, where: Layout | None, **more: Any) -> list[Tensor]:
    how = PaintSettings(**{"steps": 4, "guidance": 2.0, **more})
    with torch.no_grad(), attach(base, pair) as adapted:
        return [at.latents for at in sample(adapted, [SAID], seeds=[3], settings=how, layout=where)]


def test_composited_latents_are_each_subjects_own_up_to_the_join(base: Any, pair: Any) -> None:
    where = layout(base, compose="latents")
    found = latents(base, pair, where)
    assert len(found) == 4
    alone = replace(where, compose="attention")
    with torch.no_grad(), attach(base, pair) as adapted:
        own = []
        for places in ((0,), (1,), ()):
            with adapted.only(*places):
                how = PaintSettings(steps=4, guidance=2.0)
                own.append([at.latents for at in sample(adapted, [SAID], seeds=[3], settings=how, layout=alone)])
    rest = 1 - torch.stack(list(where.masks.values())).sum(0)
    for step in range(2):
        wanted = where.masks["<a>"] * own[0][step] + where.masks["<b>"] * own[1][step] + rest * own[2][step]
        assert torch.allclose(found[step], wanted, atol=1e-5)
    blend = latents(base, pair, replace(where, compose="blend"))
    with torch.no_grad(), attach(base, pair) as adapted:
        first, *_, last = sample(adapted, [SAID], seeds=[3], settings=how, layout=where)
        assert first.clean().shape == first.latents.shape
        assert float((last.clean() - last.latents).abs().mean()) < 0.05
    assert not torch.allclose(found[0], blend[0], atol=1e-4) or not torch.allclose(found[1], blend[1], atol=1e-4)


def test_a_way_of_painting_of_its_own_cannot_be_blended(base: Any, pair: Any) -> None:
    own = replace(pair[0], recipe=replace(pair[0].recipe, painting=Painting(parallel_stream=lambda prompt: prompt)))
    with pytest.raises(InputError, match="<a> has a way of sampling of its own .parallel_stream."):
        predicted(base, (own, pair[1]), SAID, layout(base))
    elsewhere = layout(base)
    masks = {"<b>": elsewhere.masks["<b>"]}
    with pytest.raises(InputError, match="<a> has a way of sampling of its own .* cannot be painted beside subjects"):
        predicted(base, (own, pair[1]), SAID, replace(elsewhere, masks=masks))


def test_regions_of_paint_are_checked_at_the_door(base: Any, rex: Any) -> None:
    concept = limner.learn(base, rex, method="textual_inversion", steps=1, batch=1)
    about: dict[str, Any] = {"concepts": [concept], "settings": PaintSettings(steps=2)}
    with pytest.raises(PromptError, match="<rex> has a region, and the prompt 'a dog' does not name it"):
        limner.paint(base, "a dog", regions={"rex": "left"}, **about)
    with pytest.raises(InputError, match="no concept is attached"):
        limner.paint(base, "a dog", regions={"rex": "left"}, settings=PaintSettings(steps=2))
    picture = limner.paint(base, "<rex> on the beach", regions={"rex": "left"}, **about)[0]
    assert picture.settings["regions"] == {"rex": "left"}
    plain = limner.paint(base, "<rex> on the beach", **about)[0]
    assert picture.image.tobytes() != plain.image.tobytes()
    with pytest.raises(InputError, match="must be"):
        PaintSettings(compose="mix")
    with pytest.raises(InputError, match="must be"):
        PaintSettings(background="none")


def test_where_text_and_picture_are_one_sequence(base: Any) -> None:
    """Keys of the text before or behind the picture's: the words' places are counted from where the text begins."""
    masks = region_masks({"a": "left"}, handles=("<a>",), size=(4, 4))
    run = Pass(regions=masks, handle_places=({"<a>": (1, 2)},))
    site = replace(base.sites[0], kind="joint")
    for picture, first in ((slice(5, None), 0), (slice(0, -5), 16)):
        query = torch.zeros(1, 1, 21, 8)
        call = AttentionCall(site, torch.nn.Identity(), query[:, 0], query[:, 0], query, query, query, run)
        call.picture = call.picture_keys = picture
        ((row, queries, keys, inside),) = regions_of(call)
        assert row == 0
        assert keys.tolist() == [first + 1, first + 2]
        assert queries.flatten().tolist() == list(range(21))[picture]
        assert inside.view(4, 4)[:, 0].all()
        assert not inside.view(4, 4)[:, 2:].any()
