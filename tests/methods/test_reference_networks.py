"""Methods that look at references through the denoiser itself, beside it, or down its gradient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

import limner
from limner.bases.common.attention import attend
from limner.core.adapted import Moment
from limner.core.recipe import Recipe, Stage
from limner.core.streams import stream, streams
from limner.core.subject import Subject
from limner.core.types import AttentionCall, Pass, References, Site
from limner.engine.attach import Adapter, attach
from limner.engine.sample import sample
from limner.engine.train import train
from limner.errors import InputError
from limner.library.opening import adapter_of
from limner.methods import methods
from limner.parts.augmentations import erased
from limner.parts.fusion import attending, beside_own, reference_network, self_sites
from limner.parts.fusion.reference_network import Shown
from limner.parts.guidance import between, enforced, interleaved, picture_then_text
from limner.parts.guidance.adjoint import adjoint_gradient, distance_of, feature_distance, onward
from limner.parts.modifiers import low_rank, rare_word_and
from limner.parts.objectives import denoising
from limner.parts.parameters import learned as learned_of
from limner.parts.sources import diptychs, expert_pairs, photos, retrieved
from limner.parts.sources.corpus import Shelf
from limner.parts.sources.expert_pairs import apprenticeship
from limner.parts.sources.pairs import Shots
from limner.parts.sources.retrieved import nearest
from limner.pocket.corpus import toys
from limner.pocket.subjects import toy
from tests.helpers import person

QUICK = limner.PaintSettings(steps=3)


class Spy:
    """The base's `predict`, with everything it was asked for."""

    def __init__(self, base: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[Tensor, Tensor, Pass]] = []
        real = base.predict

        def predict(noised: Tensor, time: Tensor, states: Tensor, *, context: Pass) -> Tensor:
            self.calls.append((noised, time, context))
            return real(noised, time, states, context=context)

        monkeypatch.setattr(base, "predict", predict)


def moved(adapted: Any, seed: int = 0) -> None:
    """Move every parameter of the attached adapter away from its initial value."""
    at = stream(seed, "moved")
    for tensor in adapted.tensors.values():
        if isinstance(tensor, torch.nn.Parameter):
            tensor.data += 0.05 * torch.randn(tensor.shape, generator=at)


def seen(kept: dict[str, Shown]) -> Any:
    """A reading that changes nothing and keeps what is shown."""

    def reading(*_: Any) -> Any:
        def use(call: AttentionCall, shown: Shown, own: Mapping[str, Tensor]) -> None:
            kept[call.site.name] = shown

        return {}, use

    return reading


# ------------------------------------------------------------------------------------------------ the reference network


def test_references_are_noised_to_the_time_of_the_run(base: Any, rex: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    concept, spy = limner.learn(base, rex, method="bootpig"), Spy(base, monkeypatch)
    limner.paint(base, "<rex> in the city", concepts=[concept], settings=QUICK)
    assert len(spy.calls) == 2 * QUICK.steps
    latents = concept.tensors["reference_network.latents"]
    for (_, outer, _), (noised, inner, _) in zip(spy.calls[::2], spy.calls[1::2], strict=True):
        assert torch.equal(inner, outer[:1].expand(len(rex.pictures)))
        noise = torch.randn(latents.shape, generator=stream(0, "reference noise", int(inner[0])))
        assert torch.equal(noised, base.noised(latents, noise, inner))


def test_clean_references_are_run_once_with_their_captions(
    base: Any, rex: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = replace(rex, pictures=tuple(replace(p, caption="<rex> on the road") for p in rex.pictures[:2]))
    concept, spy = limner.learn(base, told, method="re_imagen"), Spy(base, monkeypatch)
    limner.paint(base, "<rex> in the city", concepts=[concept], settings=limner.PaintSettings(steps=4))
    inner = [(noised, run) for noised, time, run in spy.calls if not time.any() and len(noised) == 2]
    assert len(inner) == 1
    assert torch.equal(inner[0][0], concept.tensors["reference_network.latents"])
    assert inner[0][1].prompts == ("a dog on the road",) * 2


def test_nothing_but_the_copy_is_worn_when_the_network_looks(base: Any, rex: Subject) -> None:
    kept: dict[str, Shown] = {}
    own, copy = low_rank(2, "everything", name="own"), low_rank(2, "attention", name="copy")
    network = reference_network(rex, seen(kept), self_sites, noised=False, copy=copy)
    x, t = torch.randn(1, *base.latent_shape), torch.tensor([400])
    with torch.no_grad(), attach(base, [Adapter(Recipe(says="dog", modifiers=(own, network)), rex.handle)]) as adapted:
        moved(adapted)
        base.predict(x, t, adapted.text_states(["a dog"]), context=adapted.run(time=t, prompts=("a dog",)))
        tensors = {name: tensor.clone() for name, tensor in adapted.tensors.items()}
    found: dict[str, Tensor] = {}

    def note(call: AttentionCall) -> AttentionCall:
        found[call.site.name] = call.hidden
        return call

    alone = {name: tensor for name, tensor in tensors.items() if name.startswith("copy.")}
    latents = tensors["reference_network.latents"]
    zero = torch.zeros(len(latents), dtype=torch.long)
    with torch.no_grad(), attach(base, [Adapter(Recipe(says="dog", modifiers=(copy,)), rex.handle, alone)]):
        states = base.text_states(["a photo of a dog"], words={}).expand(len(latents), -1, -1)
        base.predict(latents, zero, states, context=Pass((note,), time=zero))
    assert len(kept) == 4
    for name, shown in kept.items():
        assert torch.allclose(shown.hidden[0], found[name].flatten(0, 1), atol=1e-5)


@pytest.mark.parametrize("name", ["bootpig", "re_imagen", "suti"])
def test_blind_rows_do_not_depend_on_the_references(base: Any, rex: Subject, name: str) -> None:
    recipe = methods()[name](rex)
    shape = (2, *base.latent_shape)
    x, t = torch.randn(shape, generator=stream(0, "x")), torch.tensor([500, 500])
    prompts = ("a dog", "a dog")
    with torch.no_grad(), attach(base, [Adapter(recipe, rex.handle)]) as adapted:
        moved(adapted)
        states = adapted.text_states(list(prompts))
        pixels = rex.tensor(base.picture_size)[:2, None]
        masks = torch.ones_like(pixels[:, :, :1])

        def predicted(shown: Tensor) -> Tensor:
            off = torch.tensor([True, False])
            about = References(shown, masks, nouns=("dog", "dog"), dropped=off)
            run = adapted.run(time=t, prompts=prompts, references=about, random=streams(0, 0))
            return base.predict(x, t, states, context=run)

        first, second = predicted(pixels), predicted(1 - pixels)
    assert torch.equal(first[0], second[0])
    assert not torch.allclose(first[1], second[1], atol=1e-4)


def test_what_is_shared_acts_when_painting_and_a_copy_does_not(base: Any, rex: Subject) -> None:
    change = low_rank(2, "attention", name="change")
    x, t = torch.randn(1, *base.latent_shape), torch.tensor([400])

    def predicted(*modifiers: Any) -> Tensor:
        with torch.no_grad(), attach(base, [Adapter(Recipe(says="dog", modifiers=modifiers), rex.handle)]) as adapted:
            moved(adapted)
            run = adapted.run(time=t, prompts=("a dog",))
            return base.predict(x, t, adapted.text_states(["a dog"]), context=run)

    def network(shared: bool) -> Any:
        return reference_network(rex, seen({}), self_sites, copy=change, shared=shared)

    assert torch.equal(predicted(network(False)), predicted())
    assert torch.equal(predicted(network(True)), predicted(change))


def test_a_base_without_such_sites_is_told_so(base: Any, rex: Subject) -> None:
    network = reference_network(rex, attending(), lambda site: False)
    recipe = Recipe(says="dog", modifiers=(network,))
    with pytest.raises(InputError, match="does not work"), attach(base, [Adapter(recipe, rex.handle)]):
        pass


@pytest.mark.parametrize(
    ("name", "prefixes"),
    [
        ("bootpig", {"copy_change", "base_change"}),
        ("re_imagen", {"denoiser_change", "reference_network"}),
        ("suti", {"denoiser_change", "reference_network"}),
        ("diptych_prompting", {"diptych_change"}),
    ],
)
def test_what_learns_once_and_nothing_of_the_subject_ships(base: Any, name: str, prefixes: set[str]) -> None:
    recipe = methods()[name](Subject("<nobody>", "toy"))
    with attach(base, [Adapter(recipe, "<nobody>")]) as adapted:
        chosen = {key: tensor for part in recipe.stages[0].train for key, tensor in part(adapted).items()}
    assert {key.split(".")[0] for key in chosen} == prefixes
    assert not [key for key in chosen if "nobody" in key or key.endswith((".latents", ".masks"))]
    assert sum(tensor.numel() for tensor in chosen.values()) <= 650_000


# -------------------------------------------------------------------------------------------------------------- bootpig


def call_of(base: Any, rows: int, *, length: int = 9) -> AttentionCall:
    """A call of the first self-attention layer."""
    site = next(site for site in base.sites if site.kind == "self")
    heads, wide, _ = base.attention_widths(site)
    hidden = torch.randn(rows, length, wide, generator=stream(0, "hidden"))
    layer = base.module("denoiser").get_submodule(site.name)
    blank = torch.zeros(rows, heads, length, wide // heads)
    call = AttentionCall(site, layer, hidden, hidden, call_query := blank, call_query, call_query, Pass())
    call.query = call.queries(hidden)
    call.key, call.value = call.keys_values(hidden)
    return call


def test_keys_of_references_count_more_and_values_do_not(base: Any) -> None:
    with torch.no_grad():
        call = call_of(base, 2)
        more = torch.randn(call.hidden.shape, generator=stream(0, "more"))
        key, value = call.keys_values(more)
        keys, values = torch.cat([call.key, 1.1 * key], 2), torch.cat([call.value, value], 2)
        wanted = torch.softmax(call.query @ keys.mT / call.query.shape[-1] ** 0.5, -1) @ values
        plain = attend(call_of(base, 2))
        _, use = beside_own(1.1)(base, [], {}, torch.Generator())
        use(call, Shown(more, more[..., 0], torch.tensor([True, False]), 1, 1.0), {})
        out = attend(call)
    assert torch.allclose(out[0], wanted[0], atol=1e-5)
    assert torch.equal(out[1], plain[1])


def test_of_several_references_each_place_sees_the_one_that_changes_most(base: Any) -> None:
    _, use = beside_own(1.0)(base, [], {}, torch.Generator())
    on, shown = torch.tensor([True]), torch.randn(1, 18, 128, generator=stream(0, "more"))

    def out(hidden: Tensor, count: int) -> Tensor:
        call = call_of(base, 1)
        use(call, Shown(hidden, hidden[..., 0], on, count, 1.0), {})
        return attend(call)

    with torch.no_grad():
        plain, both = attend(call_of(base, 1)), out(shown, 2)
        parts = torch.stack([out(part, 1) for part in shown.chunk(2, 1)])
        changes = (parts - plain).square().sum((2, 4))  # [2, B, N]
    for place, best in enumerate(changes[:, 0].argmax(0).tolist()):
        assert torch.allclose(both[0, :, place], parts[best, 0, :, place], atol=1e-5)
    assert len(set(changes[:, 0].argmax(0).tolist())) == 2


def test_bootpig_leaves_the_bases_cross_attention_alone(base: Any) -> None:
    """With its change moved far from the start, cross-attention answers as the base's does, and self-attention does
    not."""
    recipe = methods()["bootpig"](Subject("<nobody>", "toy"), steps=1, batch=2)
    hidden = {site.name: torch.randn(1, 9, base.attention_widths(site)[1]) for site in base.sites}

    def answers() -> dict[str, Tensor]:
        layers = {site.name: base.module("denoiser").get_submodule(site.name) for site in base.sites}
        return {name: layer.to_q(hidden[name]).clone() for name, layer in layers.items()}

    with torch.no_grad(), attach(base, []):
        bare = answers()
    with torch.no_grad(), attach(base, [Adapter(recipe, "<nobody>")]) as adapted:
        for name, tensor in adapted.tensors.items():
            if name.startswith("base_change."):
                tensor += 0.1
        worn = answers()
    kinds = {site.name: site.kind for site in base.sites}
    assert {kinds[name] for name in bare if torch.equal(bare[name], worn[name])} == {"cross"}
    assert {kinds[name] for name in bare if not torch.equal(bare[name], worn[name])} == {"self"}


def test_gradients_reach_the_copy_through_what_it_shows(base: Any) -> None:
    recipe = methods()["bootpig"](Subject("<nobody>", "toy"), steps=2, batch=2)
    adapter = Adapter(recipe, "<nobody>")
    with attach(base, [adapter]) as adapted:
        first = {name: tensor.detach().clone() for name, tensor in adapted.tensors.items()}
    (stage,), over = recipe.stages, recipe.stages[0].loss[0].source.over
    assert over is not None
    few = replace(stage, loss=(denoising(over(toys(individuals=4))),))
    *_, last = train(base, adapter, stages=[few], seed=1)
    after = last.snapshot().tensors
    site = next(site for site in base.sites if site.kind == "cross")
    assert not torch.equal(
        after[f"copy_change.denoiser.{site.name}.to_out.0.up"], first[f"copy_change.denoiser.{site.name}.to_out.0.up"]
    )
    assert torch.equal(after["reference_network.latents"], first["reference_network.latents"])


# --------------------------------------------------------------------------------------------------- Re-Imagen and SuTI


def test_re_imagen_looks_at_as_many_neighbours_as_it_is_told(
    base: Any, rex: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None is the base; with some, the denoiser itself runs over just those pictures, clean, and the picture depends on
    each."""
    settings, shown = limner.PaintSettings(steps=2), {}
    for count in (0, 1, 2):
        concept = limner.learn(base, rex, method="re_imagen", neighbours=count)
        with monkeypatch.context() as patch:
            spy = Spy(base, patch)
            (shown[count],) = limner.paint(base, "<rex> in the city", concepts=[concept], seed=2, settings=settings)
        looks = [len(noised) for noised, time, _ in spy.calls if not time.any()]
        assert looks == ([count] if count else [])
        assert len(concept.tensors.get("reference_network.latents", ())) == count
    (bare,) = limner.paint(base, "dog in the city", seed=2, settings=settings)
    assert shown[0].image.tobytes() == bare.image.tobytes()
    apart = [np.abs(np.asarray(shown[k].image, float) - np.asarray(shown[k - 1].image, float)).mean() for k in (1, 2)]
    assert min(apart) > 1.0


class Asked:
    """A denoiser whose branches are told apart by a number, with what it was asked for."""

    numbers: ClassVar = {"negative": 1.0, "words": 2.0, "pictures": 3.0, "text": 10.0}

    def __init__(self) -> None:
        self.branches: list[tuple[str, ...]] = []

    def __call__(self, x: Tensor, t: Tensor, *, branches: tuple[str, ...] = ("text",)) -> tuple[Tensor, ...]:
        self.branches.append(branches)
        return tuple(torch.full_like(x, self.numbers[branch]) for branch in branches)


@pytest.mark.parametrize("name", ["re_imagen", "suti"])
def test_every_step_drops_exactly_one_of_text_and_pictures(rex: Subject, name: str) -> None:
    asked, x = Asked(), torch.zeros(1)
    (guidance,) = methods()[name](rex, share=0.5).painting.guidance
    outputs = [float(guidance(asked, 3.0)(x, torch.tensor([t]))[0]) for t in range(0, 1000, 5)]
    assert set(asked.branches) == {("negative", "text"), ("words", "text")}
    for branches, output in zip(asked.branches, outputs, strict=True):
        away = asked.numbers[branches[0]]
        assert output == pytest.approx(away + (3.0 if branches[0] == "negative" else 4.0) * (10 - away))
    assert 0.35 < asked.branches.count(("negative", "text")) / 200 < 0.65


def test_at_scale_one_there_is_no_guidance() -> None:
    asked, x, t = Asked(), torch.zeros(1), torch.tensor([7])
    for guidance in (between("negative"), picture_then_text(6.0), interleaved(between("a"), between("b"), share=0.5)):
        assert float(guidance(asked, 1.0)(x, t)[0]) == 10
    assert set(asked.branches) == {("text",)}
    (found,) = picture_then_text(6.0)(asked, 4.0)(x, t)
    assert float(found) == 1 + 6 * (3 - 1) + 4 * (10 - 3)


def test_neighbours_are_the_nearest_and_never_the_target() -> None:
    features = torch.nn.functional.normalize(torch.randn(30, 5, generator=stream(0, "features")), dim=-1)
    chosen = torch.arange(30)
    found = nearest(features, chosen, 3)
    for k in range(30):
        order = sorted((n for n in range(30) if n != k), key=lambda n: -float(features[k] @ features[n]))
        assert found[k].tolist() == order[:3]


def test_retrieved_batches_show_neighbours_with_captions_of_their_own(base: Any) -> None:
    corpus = toys(individuals=4)
    source = retrieved(batch=6, neighbours=2, drop_text=0.5, drop_image=0.5, corpus=corpus)
    draw, shelf = source.prepare(base), Shelf(corpus, base)
    batch = draw(0, streams(0, 0, 0))
    shown = batch.references
    assert shown is not None
    assert shown.pixels.shape[:2] == (6, 2)
    assert all("a " in text for row in shown.captions for text in row)
    every = shelf.pixels(range(16))
    for row, latents in enumerate(batch.latents):
        target = (shelf.latents(range(16)) - latents).abs().sum((1, 2, 3)).argmin()
        assert all(not torch.equal(picture, every[target]) for picture in shown.pixels[row])
    both = [(not said, not bool(on)) for said, on in zip(batch.prompts, shown.on, strict=True)]
    more = [draw(k, streams(0, 0, k)) for k in range(1, 6)]
    both += [
        (not s, not bool(o)) for b in more if b.references for s, o in zip(b.prompts, b.references.on, strict=True)
    ]
    assert set(both) == {(False, False), (True, False), (False, True), (True, True)}
    again = draw(0, streams(0, 0, 0))
    assert torch.equal(again.latents, batch.latents)


def test_an_apprentice_never_sees_its_target_among_the_demonstrations(base: Any) -> None:
    def expert(subject: Subject) -> Recipe:
        change, loss = low_rank(2), denoising(photos(subject, batch=1))
        says = rare_word_and(subject.noun, handle=subject.handle)
        return Recipe(says, (change,), (Stage((learned_of(change),), (loss,), 2, 4e-3),))

    corpus = toys(individuals=4)
    settings: dict[str, Any] = {"steps": 2, "batch": 1, "rank": 2}
    prompts = ("{} in the snow", "{} on the road")
    few: dict[str, Any] = {"experts": 2, "demonstrations": 3, "batch": 4}
    source = expert_pairs(
        expert=expert, settings=settings, prompts=prompts, gain=-2.0, corpus=corpus, drop_text=0.0, **few
    )
    batch, shelf = source.prepare(base)(0, streams(0, 0, 0)), Shelf(corpus, base)
    made = apprenticeship(shelf, expert, settings, 2, prompts)
    assert len(made["latents"]) == 4
    assert sorted(set(made["who"].tolist())) == sorted(
        set(torch.randperm(4, generator=stream(0, "experts"))[:2].tolist())
    )
    real = shelf.latents(range(16))
    assert batch.references is not None
    for latents, prompt, shown in zip(batch.latents, batch.prompts, batch.references.pixels, strict=True):
        row = next(k for k in range(4) if torch.equal(made["latents"][k], latents))
        own = shelf.pixels(list(corpus.subjects[int(made["who"][row])]))
        assert prompt.endswith(("in the snow", "on the road")[int(made["prompt"][row])])
        assert (real - latents).abs().mean((1, 2, 3)).min() > 0.05
        assert all(any(torch.equal(picture, one) for one in own) for picture in shown)
    with pytest.raises(InputError, match="threshold"):
        expert_pairs(expert=expert, settings=settings, prompts=prompts, gain=2.0, corpus=corpus, **few).prepare(base)


def test_suti_starts_from_re_imagens_weights(base: Any) -> None:
    one, other = (methods()[name](Subject("<nobody>", "toy")) for name in ("suti", "re_imagen"))
    assert one.begins == other.weights
    names = []
    for recipe in (one, other):
        with attach(base, [Adapter(recipe, "<nobody>")]) as adapted:
            names.append({key: tensor.shape for key, tensor in recipe.stages[0].train[0](adapted).items()})
    assert names[0] == names[1]


# -------------------------------------------------------------------------------------------------------------- diptych


def test_the_left_panel_is_the_reference_at_every_step(
    base: Any, rex: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    concept, spy = limner.learn(base, rex, method="diptych_prompting"), Spy(base, monkeypatch)
    limner.paint(base, "<rex> in the city", concepts=[concept], count=2, settings=QUICK)
    clean, side = concept.tensors["reference.latents"], base.latent_shape[-1]
    noise = torch.randn(clean.shape, generator=stream(0, "panel"))
    assert len(spy.calls) == QUICK.steps
    for noised, time, run in spy.calls:
        assert noised.shape[-1] == 2 * side
        left = base.noised(clean, noise, time[:1])
        assert torch.equal(noised[..., :side], left.expand(len(noised), -1, -1, -1))
        assert run.prompts[-1] == "a dog and dog in the city"


def test_enforced_by_one_it_is_ordinary_inpainting(base: Any, rex: Subject) -> None:
    """Against a loop of its own: the known half is put back before every step of DDIM."""
    concept = limner.learn(base, rex, method="diptych_prompting", enforce=1.0, adapter=False)
    how, side = limner.PaintSettings(steps=4, guidance=1.0), base.latent_shape[-1]
    with torch.no_grad(), attach(base, [adapter_of(concept, base)]) as adapted:
        *_, last = sample(adapted, ["<rex> in the snow"], seeds=[3], settings=how)
    clean, scheduler = concept.tensors["reference.latents"], base.scheduler(steps=4)
    noise = torch.randn(clean.shape, generator=stream(0, "panel"))
    wide = torch.cat([clean, torch.randn(base.latent_shape, generator=stream(3, "latents"))[None]], -1)
    states = base.text_states(["a dog and dog in the snow"], words={})
    for time in scheduler.timesteps:
        wide = torch.cat([base.noised(clean, noise, time[None]), wide[..., side:]], -1)
        with torch.no_grad():
            output = base.predict(wide, time[None], states, context=Pass(time=time[None]))
        wide = scheduler.step(output, time, wide).prev_sample
    assert torch.allclose(last.latents, wide[..., side:], atol=1e-4)


def test_only_what_the_right_sees_on_the_left_is_scaled() -> None:
    site: Any = Site("", "self", "mid", 0)
    side, x = 4, torch.zeros(1, 2, 32, 8)
    call = AttentionCall(site, torch.nn.Identity(), x, x, x, x, x, Pass())
    (change,) = enforced(1.3)(call).on_maps
    factor = change(torch.ones(1, 2, 32, 32))
    for query in range(32):
        for key in range(32):
            scaled = query % (2 * side) >= side and key % (2 * side) < side
            assert float(factor[0, 0, query, key]) == pytest.approx(1.3 if scaled else 1.0)
    square = AttentionCall(site, torch.nn.Identity(), x, x, x[:, :, :16], x[:, :, :16], x[:, :, :16], Pass())
    assert not enforced(1.3)(square).on_maps
    assert not enforced(1.0)(AttentionCall(site, torch.nn.Identity(), x, x, x, x, x, Pass())).on_maps


def test_text_places_of_a_joint_sequence_are_not_scaled() -> None:
    site: Any = Site("", "merged", "mid", 0)
    x, text = torch.zeros(1, 1, 8 + 5, 8), slice(5, None)
    call = AttentionCall(site, torch.nn.Identity(), x, x, x, x, x, Pass(), picture=text, picture_keys=text)
    (change,) = enforced(2.0)(call).on_maps
    factor = change(torch.ones(1, 1, 13, 13))[0, 0]
    assert (factor[:5] == 1).all()
    assert (factor[:, :5] == 1).all()
    assert int((factor == 2).sum()) == 4 * 4


def test_diptychs_count_on_the_right_alone(base: Any) -> None:
    batch = diptychs("a {noun} and {prompt}", batch=3, drop_text=0.0, corpus=toys(individuals=4)).prepare(base)(
        0, streams(0, 0, 0)
    )
    side = base.latent_shape[-1]
    assert batch.latents.shape[-1] == 2 * side
    assert batch.mask is not None
    assert not batch.mask[..., :side].any()
    assert (batch.mask[..., side:] == 1).all()
    assert batch.references is None
    assert all(" and " in text for text in batch.prompts)
    white = base.encode(torch.ones(1, 3, base.picture_size, base.picture_size))[0]
    corner = batch.latents[:, :, :2, :2] - white[:, :, :2, :2]
    assert corner.abs().mean() < 0.3 * (batch.latents[:, :, :2, side : side + 2] - white[:, :, :2, :2]).abs().mean()


# ------------------------------------------------------------------------------------------------------------------ SAG


@pytest.fixture
def moment(base: Any, rex: Subject) -> Any:
    recipe = methods()["sag"](rex)
    with torch.no_grad(), attach(base, [Adapter(recipe, rex.handle)]) as adapted:
        x = torch.randn(2, *base.latent_shape, generator=stream(0, "x"))
        prompts = ("a dog", "dog in the city")
        states, against = adapted.text_states(list(prompts)), adapted.text_states(["", ""])
        yield Moment(adapted, x, torch.tensor(480), 5, 10, prompts, states, None, against, 3.0)


def distance(moment: Moment) -> Any:
    wanted = moment.adapted.tensors["reference.features"]
    base = moment.adapted.base
    return lambda clean: feature_distance(base, base.decode(clean), wanted).sum()


@pytest.mark.parametrize("count", [1, 3])
def test_the_adjoint_is_the_gradient_through_all_steps(moment: Moment, count: int) -> None:
    ways, far = onward(moment, count), distance(moment)
    with torch.enable_grad():
        x = moment.latents.clone().requires_grad_(True)
        clean = x
        for way in ways:
            clean = way(clean)
        (wanted,) = torch.autograd.grad(far(clean), x)
    found = adjoint_gradient(ways, moment.latents, far)
    assert wanted.abs().max() > 0
    assert torch.allclose(found, wanted, atol=1e-4 * float(wanted.abs().max()))


def test_one_step_is_the_usual_estimate_of_the_clean_picture(moment: Moment) -> None:
    base, t = moment.adapted.base, torch.tensor([480, 480])
    (way,) = onward(moment, 1)
    assert moment.against is not None
    both = [base.predict(moment.latents, t, s, context=Pass(time=t)) for s in (moment.against, moment.states)]
    output = both[0] + 3.0 * (both[1] - both[0])
    assert torch.allclose(way(moment.latents), base.x0(moment.latents, output, t), atol=1e-4)


def test_a_push_goes_downhill_and_only_in_the_middle(moment: Moment, rex: Subject) -> None:
    recipe = methods()["sag"](rex, repeats=1, strength=0.02)
    (operation,) = recipe.painting.latents
    adapted = SimpleNamespace(
        live={recipe.modifiers[0]: next(iter(moment.adapted.live.values()))},
        base=moment.adapted.base,
        run=moment.adapted.run,
    )
    here: Any = moment._replace(adapted=adapted)
    far = distance(moment)

    def value(x: Tensor) -> float:
        for way in onward(moment, 2):
            x = way(x)
        return float(far(x))

    pushed = operation(here)
    assert value(pushed) < value(moment.latents)
    for step in (0, 2, 7, 9):
        assert operation(here._replace(step=step)) is moment.latents


@pytest.mark.parametrize("kind", ["object", "style", "face"])
def test_sag_s_distance_is_that_of_the_kind_of_subject(base: Any, rex: Subject, kind: str) -> None:
    """The stored features are of that kind, nothing is far from itself, and a push comes nearer."""
    shown = replace(person(), handle=rex.handle) if kind == "face" else rex
    shown = replace(shown, kind=kind, pictures=shown.pictures[:1])
    recipe = methods()["sag"](shown, repeats=1, estimate=1, strength=0.02)
    assert methods()["sag"](shown, distance="object").modifiers != recipe.modifiers or kind == "object"
    with torch.no_grad(), attach(base, [Adapter(recipe, rex.handle)]) as adapted:
        wanted = adapted.tensors["reference.features"]
        pixels = shown.tensor(base.picture_size)
        if kind == "style":
            tokens = base.picture_states(pixels, (1 / 6,))[0, 1:]
            assert torch.allclose(wanted[0], tokens.T @ tokens / len(tokens), atol=1e-4)
        else:
            seen = base.picture_features(pixels) if kind == "object" else base.encoders["face"](pixels)
            assert torch.allclose(wanted, seen, atol=1e-4)
        _, far = distance_of(kind)
        assert float(far(base, pixels, wanted)) == pytest.approx(0.0, abs=1e-3)
        other = person(2_000_079) if kind == "face" else toy("car", 2_000_016, count=1)
        clean, time = base.encode(other.tensor(base.picture_size)[:1])[0], torch.tensor([300])
        x = base.noised(clean, torch.randn(clean.shape, generator=stream(0, "noise")), time)
        prompts = ("a photo",)
        states, against = adapted.text_states(list(prompts)), adapted.text_states([""])
        moment = Moment(adapted, x, time[0], 5, 10, prompts, states, None, against, 3.0)

        def value(x: Tensor) -> float:
            (way,) = onward(moment, 1)
            return float(far(base, base.decode(way(x)), wanted))

        assert value(recipe.painting.latents[0](moment)) < value(x)


def test_an_unknown_distance_is_refused(rex: Subject) -> None:
    with pytest.raises(InputError, match="there is no distance"):
        methods()["sag"](rex, distance="colour")


def test_rows_are_pushed_whoever_is_beside_them(moment: Moment) -> None:
    (operation,) = next(iter(moment.adapted.adapters)).recipe.painting.latents
    both = operation(moment)
    assert moment.against is not None
    one = moment._replace(
        latents=moment.latents[1:], prompts=moment.prompts[1:], states=moment.states[1:], against=moment.against[1:]
    )
    assert torch.allclose(operation(one), both[1:], atol=1e-3)


# -------------------------------------------------------------------------------------------------------- augmentations


def test_erasing_takes_boxes_of_the_area_it_says() -> None:
    pixels, masks = torch.zeros(400, 3, 32, 32), torch.ones(400, 1, 32, 32)
    found, kept, *_ = erased(0.4, least=0.1, most=0.3)(Shots(pixels, masks), stream(0, "erased"))
    assert kept is not None
    area = found[:, 0].mean((1, 2))
    share = (area > 0).float().mean()
    assert 0.3 < float(share) < 0.5
    assert 0.05 < float(area[area > 0].min()) < float(area.max()) < 0.36
    assert torch.equal(found[:, :1] > 0, kept == 0)
    for hole in found[area > 0][:20, 0] > 0:
        rows, columns = hole.any(1).nonzero(), hole.any(0).nonzero()
        assert int(hole.sum()) == len(rows) * len(columns)
    same, *_ = erased(0.0)(Shots(pixels, None), stream(0, "erased"))
    assert torch.equal(same, pixels)
