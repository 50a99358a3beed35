"""Methods for several subjects: the distinct property of each, and combinations of methods in one prompt."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import limner
from limner.core.adapted import Moment
from limner.core.concept import Concept
from limner.core.recipe import Painting, Recipe
from limner.core.regions import region_masks
from limner.core.subject import Subject
from limner.core.types import AttentionCall
from limner.engine.attach import Adapter, attach, parameter
from limner.engine.regions import Layout
from limner.engine.sample import PaintSettings, _guided, _plain
from limner.engine.train import train
from limner.library.opening import adapter_of
from limner.methods import methods
from limner.parts.attention import regions_of
from limner.parts.guidance.separation import kept_apart, overlap, subject_maps
from limner.parts.merging import member_of
from limner.parts.modifiers import new_word
from limner.parts.modifiers.neurons import concept_neurons
from limner.parts.objectives import attention_within_mask
from limner.pocket.subjects import toy
from tests.helpers import fast, same, state, untouched

HOW = PaintSettings(steps=2)


@pytest.fixture(scope="module")
def pair() -> tuple[Subject, Subject]:
    return toy("dog", 2_000_020, name="rex", count=2), toy("car", 2_000_021, name="bo", count=2)


def learned(base: Any, subject: Subject, name: str, **more: Any) -> Concept:
    return limner.learn(base, subject, method=name, **fast(methods()[name], **more))


def bytes_of(base: Any, prompt: str, concepts: list[Concept], **more: Any) -> bytes:
    about = {"seed": 3, "settings": HOW, **more}
    found: bytes = limner.paint(base, prompt, concepts=concepts, **about)[0].image.tobytes()
    return found


# ---------------------------------------------------------------------------------------------------------- two methods

COMBINATIONS = {
    "words + low-rank": ("textual_inversion", "lora_dreambooth"),
    "low-rank + encoder's": ("lora_dreambooth", "ip_adapter"),
    "encoder + encoder": ("ip_adapter", "elite"),
    "whole weights + layer-wise words": ("custom_diffusion", "p_plus"),
    "residual states + neural words": ("cones2", "neti"),
    "rotations + decomposed words": ("oft", "mix_of_show"),
}


ALWAYS = ("words + low-rank", "whole weights + layer-wise words", "encoder + encoder")
"""The combinations that `make test` asks for; the others are a sweep."""


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(names, id=kind, marks=() if kind in ALWAYS else pytest.mark.sweep)
        for kind, names in COMBINATIONS.items()
    ],
)
def test_two_methods_compose_in_one_prompt(base: Any, pair: Any, names: tuple[str, str]) -> None:
    """Each changes the picture beside the other, without regions and with; the base comes back to the bit."""
    before = state(base)
    quick: dict[str, Any] = {"lr": 0.01, "prior_weight": 0.0, "steps": 2, "batch": 1}
    concepts = [learned(base, s, name, **quick) for s, name in zip(pair, names, strict=True)]
    prompt = "<rex> and <bo> on the beach"
    whole = bytes_of(base, prompt, concepts)
    for scale in ((0.0, 1.0), (1.0, 0.0)):
        assert bytes_of(base, prompt, concepts, scale=scale) != whole
    blend = bytes_of(base, prompt, concepts, regions={"rex": "left", "bo": "right"})
    assert blend != whole
    assert same(state(base), before)
    assert untouched(base)


def test_a_branch_of_image_attention_stays_in_its_region(base: Any, pair: Any) -> None:
    scales: list[Tensor | float] = []

    def look(call: AttentionCall) -> AttentionCall:
        scales.extend(scale for _, _, scale in call.beside)
        return call

    masks = region_masks({"rex": "left"}, handles=("<rex>",), size=base.latent_shape[1:])
    x = torch.zeros(1, *base.latent_shape)
    with torch.no_grad(), attach(base, [adapter_of(learned(base, pair[0], "ip_adapter"), base)]) as adapted:
        for where in (Layout(masks, "attention", operations=(look,)), Layout({}, "attention", operations=(look,))):
            _guided(_plain(adapted, ["<rex> on the beach"], [0], HOW, None, {}, 1, where)).at(
                0, x, torch.tensor([900]), guided=True
            )
    half = len(scales) // 2
    assert half > 0
    for scale in scales[:half]:
        assert isinstance(scale, Tensor)
        side = round(scale.numel() ** 0.5)
        square = scale.view(side, side)
        assert square[:, : side // 2].all()
        assert not square[:, side // 2 :].any()
    assert all(isinstance(scale, float) for scale in scales[half:])


# -------------------------------------------------------------------------------------------------------------- Cones 2


def test_cones2_moves_one_word_and_nothing_else(base: Any, pair: Any) -> None:
    """The denoiser and the states of all other positions are the base's to the bit; the word's gain one vector; two
    words' add up."""
    concepts = [learned(base, s, "cones2", lr=0.05) for s in pair]
    assert [sorted(c.tensors) for c in concepts] == [["residual.<rex>.states"], ["residual.<bo>.states"]]
    before = state(base)
    read: list[Tensor] = []

    def look(call: AttentionCall) -> AttentionCall:
        if call.site.kind == "cross":
            read.append(call.states.clone())
        return call

    text = "<rex> next to <bo>"
    with torch.no_grad(), attach(base, [adapter_of(c, base) for c in concepts]) as adapted:
        assert same(state(base), before)
        plain = base.text_states(["dog next to car"], words={})
        run = adapted.run(time=torch.tensor([500]), latents=None, prompts=(adapted.expand_prompt(text),))
        run.operations += (look,)
        x = torch.randn(1, *base.latent_shape, generator=torch.Generator().manual_seed(0))
        base.predict(x, run.time, adapted.text_states([text]), context=run)
        places = [adapted.handle_places(text, handle) for handle in ("<rex>", "<bo>")]
    wanted = plain.clone()
    for own, concept in zip(places, concepts, strict=True):
        wanted[0, list(own)] += next(iter(concept.tensors.values()))
    assert len(read) == sum(site.kind == "cross" for site in base.sites)
    assert all(torch.allclose(states, wanted, atol=1e-6) for states in read)
    others = [k for k in range(plain.shape[1]) if k not in (*places[0], *places[1])]
    assert all(torch.equal(states[0, others], plain[0, others]) for states in read)
    assert float((wanted - plain).abs().max()) > 1e-3


def test_cones2_reads_a_subject_in_its_region_alone_and_more_strongly(base: Any, pair: Any) -> None:
    concept = learned(base, pair[0], "cones2")
    shares: dict[bool, list[float]] = {True: [], False: []}
    now: list[bool] = []

    def look(call: AttentionCall) -> AttentionCall:
        where = regions_of(call)

        def keep(maps: Tensor) -> Tensor:
            for row, queries, keys, inside in where:
                own = maps[row][:, queries, keys].sum(-1)
                shares[now[-1]].append(float(own[:, inside == 1].mean()))
                if now[-1]:
                    assert float(own[:, inside == 0].abs().max()) == 0
            return maps

        if where:
            call.on_maps.append(keep)
        return call

    masks = region_masks({"rex": "left"}, handles=("<rex>",), size=base.latent_shape[1:])
    layout = Layout(masks, "attention", operations=(look,))
    whole = adapter_of(concept, base)
    bare = replace(whole, recipe=replace(whole.recipe, modifiers=whole.recipe.modifiers[:1]))
    x = torch.randn(1, *base.latent_shape, generator=torch.Generator().manual_seed(0))
    for guided, adapter in ((True, whole), (False, bare)):
        now.append(guided)
        with torch.no_grad(), attach(base, [adapter]) as adapted:
            denoise = _guided(_plain(adapted, ["<rex> on the beach"], [0], HOW, None, {}, 1, layout))
            denoise.at(0, x, torch.tensor([900]), guided=True)
    assert len(shares[True]) == len(shares[False]) > 0
    assert sum(shares[True]) > 1.2 * sum(shares[False])


# ---------------------------------------------------------------------------------------------------------- Mix-of-Show


def test_mix_of_show_splits_a_subject_into_two_words_of_every_layer(base: Any, pair: Any) -> None:
    concept = learned(base, pair[0], "mix_of_show")
    sites = sum(site.kind == "cross" for site in base.sites)
    words = {name: t for name, t in concept.tensors.items() if name.startswith("varying.")}
    assert {name: len(t) for name, t in words.items()} == {
        "varying.<rex>.layers": sites,
        "varying.<rex-class>.layers": sites,
    }
    assert not any(torch.equal(t[0], t[1]) for t in words.values())  # layers have parted
    assert {len(t) for name, t in concept.tensors.items() if name.endswith(".down")} == {4}
    with attach(base, [adapter_of(concept, base)]) as adapted:
        assert adapted.expand_prompt("a photo of <rex>") == "a photo of <rex> <rex-class>"


def test_mix_of_show_leaves_clothes_to_the_prompt(pair: Any) -> None:
    """The class word covers the mask of a thing; that of a face only stays within it."""
    names = {}
    for kind in ("object", "face"):
        (stage,) = methods()["mix_of_show"](replace(pair[0], kind=kind)).stages
        names[kind] = [term.name.split("(")[0] for term in stage.loss]
    assert names == {
        "object": ["denoising", "attention within mask", "attention on mask"],
        "face": ["denoising", "attention within mask", "attention within mask"],
    }


def test_mix_of_show_keeps_its_words_within_the_mask(base: Any, pair: Any) -> None:
    """Learned for the regulariser alone, attention of the random word leaves the background."""
    recipe = methods()["mix_of_show"](pair[0], attention_weight=1.0, steps=4, lr=1e-2, batch=1)
    (stage,) = recipe.stages
    within = next(term for term in stage.loss if term.name.startswith("attention within mask"))
    start = Adapter(recipe, "<rex>")
    *_, last = train(base, start, stages=(replace(stage, loss=(within,)),), seed=0)
    after_it = replace(start, stored=last.snapshot().tensors)
    watched: Any = recipe.modifiers[2]
    still = replace(stage, loss=(attention_within_mask(within.source, watched),), steps=2, lr=1e-12)
    values = [
        sum(progress.loss for progress in train(base, adapter, stages=(still,), seed=5))
        for adapter in (start, after_it)
    ]
    assert values[1] < 0.95 * values[0]


# ---------------------------------------------------------------------------------------------------------------- Cones


def test_cones_shuts_weights_and_changes_none(base: Any, pair: Any) -> None:
    """Painting, the weights differ from the base's by exact zeros at a sparse set; the union of two is the product of
    masks."""
    concepts = [learned(base, s, "cones", lr=0.05, prior_weight=0.0, share=0.03) for s in pair]
    members = [member_of(adapter_of(concept, base), base) for concept in concepts]
    for member in members:
        assert member.changes.keys() <= base.select("cross_attention_kv").keys()
        assert len(member.changes) > 0.8 * len(
            base.select("cross_attention_kv")
        )  # all but where attention is one token's
        for name, change in member.changes.items():
            shut = change != 0
            assert torch.equal(change[shut], -parameter(base, name).detach()[shut])
            assert 0 < float(shut.float().mean()) <= 0.03 + 1e-3
    both = limner.merge(base, concepts, by="neurons")
    assert both.handles == ("<rex>", "<bo>")
    for name, value in both.tensors.items():
        masks = [(member.changes.get(name, torch.zeros_like(value)) == 0).float() for member in members]
        assert torch.equal(value, masks[0] * masks[1] * parameter(base, name).detach())


def test_cones_shuts_what_its_loss_is_better_without(base: Any, pair: Any) -> None:
    """The loss on the subject's own pictures is lower with the found weights shut than with as many others."""
    concept = learned(base, pair[0], "cones", steps=25, lr=0.02, prior_weight=0.0, share=0.02, batch=4)
    found = adapter_of(concept, base)
    draw = torch.Generator().manual_seed(0)
    chance = {name: 1 - torch.rand(t.shape, generator=draw) for name, t in concept.tensors.items()}
    losses = [_loss(base, pair[0], adapter) for adapter in (found, replace(found, stored=chance))]
    assert losses[0] < losses[1]


def _loss(base: Any, subject: Subject, adapter: Adapter) -> float:
    """Denoising of the subject's pictures as it paints, the mean over fixed times and noise."""
    with torch.no_grad(), attach(base, [adapter]) as adapted:
        clean = base.encode(subject.tensor(base.picture_size))[0].repeat(8, 1, 1, 1)
        draw = torch.Generator().manual_seed(1)
        noise, time = torch.randn(clean.shape, generator=draw), torch.linspace(100, 900, len(clean)).long()
        said = ["a photo of <rex>"] * len(clean)
        run = adapted.run(time=time, latents=clean, prompts=tuple(map(adapted.expand_prompt, said)))
        output = base.predict(base.noised(clean, noise, time), time, adapted.text_states(said), context=run)
        return float((output - base.target(clean, noise, time)).square().mean())


def test_neurons_that_after_itnothing_are_the_base() -> None:
    mask = torch.ones(5, 4)
    assert not concept_neurons(share=0.2).shut(mask).any()
    mask[1, 2], mask[3, 0] = 0.5, 0.9
    assert concept_neurons(share=0.2).shut(mask).nonzero().tolist() == [[1, 2], [3, 0]]
    assert int(concept_neurons(share=0.05).shut(mask).sum()) == 1


# ----------------------------------------------------------------------------------------------------------------- MC^2


def test_mc2_parts_subjects_whichever_methods_taught_them(base: Any, pair: Any) -> None:
    """Attention overlaps less after a guided step than before; stored tensors stay as they are; one subject alone is
    left alone."""
    concepts = [learned(base, pair[0], "mc2", lr=0.01), learned(base, pair[1], "textual_inversion", lr=0.01)]
    prompt = "<rex> and <bo> on the beach"
    with torch.no_grad(), attach(base, [adapter_of(c, base) for c in concepts]) as adapted:
        (operation,) = adapted.latent_operations
        said = (adapted.expand_prompt(prompt), adapted.expand_prompt("<rex> on the beach"))
        states = adapted.text_states([prompt, "<rex> on the beach"])
        x = torch.randn(2, *base.latent_shape, generator=torch.Generator().manual_seed(0))
        moment = Moment(adapted, x, torch.tensor(900), 0, 10, said, states)
        moved = operation(moment)
        words = ["<rex>", "<bo>"]
        before, after = (float(overlap(subject_maps(moment, at[:1], 0, words))) for at in (x, moved))
        late = operation(moment._replace(step=8))
    assert after < before
    assert torch.equal(moved[1], x[1])
    assert not torch.equal(moved[0], x[0])
    assert torch.equal(late, x)
    assert bytes_of(base, prompt, concepts) != bytes_of(base, prompt, [_without_guidance(concepts[0]), concepts[1]])


def _without_guidance(concept: Concept) -> Concept:
    return replace(concept, settings={**concept.settings, "apart": 0.0})


def test_several_that_part_subjects_act_once(base: Any) -> None:
    adapters = [
        Adapter(Recipe(h, (new_word(h, noun),), painting=Painting(latents=(kept_apart(),))), h, noun=noun)
        for h, noun in (("<a>", "dog"), ("<b>", "car"))
    ]
    with torch.no_grad(), attach(base, adapters) as adapted:
        first, second = adapted.latent_operations
        x = torch.randn(1, *base.latent_shape, generator=torch.Generator().manual_seed(0))
        moment = Moment(adapted, x, torch.tensor(900), 0, 10, ("<a> and <b>",), adapted.text_states(["<a> and <b>"]))
        assert not torch.equal(first(moment), x)
        assert torch.equal(second(moment), x)


def test_overlap_by_hand() -> None:
    maps = torch.tensor([[1.0, 0, 0, 0], [0, 0.5, 0.5, 0], [0.5, 0.5, 0, 0]])
    assert float(overlap(maps[:2])) == 0
    assert float(overlap(maps)) == pytest.approx((0 + 0.5 + 0.5) / 3)
