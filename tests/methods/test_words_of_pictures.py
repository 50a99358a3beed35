"""Methods that make words of pictures, trained once: what makes each of them itself."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import limner
from limner.core.adapted import Step
from limner.core.recipe import Objective, Recipe, Source
from limner.core.subject import Subject
from limner.core.types import Pass, References
from limner.core.weights import shipped
from limner.engine.attach import AdaptedBase, Adapter, attach
from limner.engine.train import train
from limner.errors import InputError
from limner.library.opening import adapter_of
from limner.library.settings import checked_settings
from limner.methods import methods
from limner.parts.candidates import nearest
from limner.parts.encoders import alone, clip_depths, clip_global, close_up, mean_of, pictures_alone, placed
from limner.parts.encoders.perceptron import perceptron
from limner.parts.fusion import details_of_pixels
from limner.parts.fusion.gated_attention import attended
from limner.parts.fusion.local_attention import gate
from limner.parts.guidance import fused_guidance
from limner.pocket.corpus import toys

QUICK = limner.PaintSettings(steps=3)
NOBODY = Subject("<nobody>", "toy")


def painted(base: Any, concept: limner.Concept, prompt: str = "<rex> on the beach") -> bytes:
    return limner.paint(base, prompt, concepts=[concept], seed=1, settings=QUICK)[0].image.tobytes()


def references(base: Any, rows: int = 2) -> References:
    """Two pictures a row, the subject in the left upper quarter."""
    size = base.picture_size
    masks = torch.zeros(rows, 2, 1, size, size)
    masks[..., : size // 2, : size // 2] = 1
    pixels = torch.rand(rows, 2, 3, size, size, generator=torch.Generator().manual_seed(0))
    return References(pixels, masks, nouns=("dog",) * rows)


def taught_run(
    adapted: AdaptedBase, base: Any, shown: References, prompt: str, *operations: Any
) -> tuple[Tensor, Pass]:
    """One run as in teaching, and what it kept."""
    from limner.core.streams import streams

    x = torch.randn(len(shown), *base.latent_shape, generator=torch.Generator().manual_seed(1))
    t, said = torch.full((len(shown),), 500), (adapted.expand_prompt(prompt),) * len(shown)
    run = adapted.run(time=t, prompts=said, references=shown, random=streams(0, 0, 0), fused=False)
    run.operations += operations
    return base.predict(x, t, adapted.text_states([prompt] * len(shown)), context=run), run


def trained_tensors(name: str, base: Any) -> list[set[str]]:
    """Trained parameters of each stage of pre-training."""
    recipe = methods()[name](NOBODY)
    with attach(base, [Adapter(recipe, "<nobody>")]) as adapted:
        return [{key for part in stage.train for key in part(adapted)} for stage in recipe.pretraining]


@pytest.mark.parametrize("name", ["elite", "umm_diffusion", "instantbooth", "kim_sod_cnn"])
def test_another_toy_paints_another_picture(base: Any, rex: Subject, name: str) -> None:
    from limner.pocket.subjects import toy

    other = toy("dog", 2_000_099)
    assert painted(base, limner.learn(base, rex, method=name)) != painted(base, limner.learn(base, other, method=name))


@pytest.mark.parametrize("name", ["elite", "umm_diffusion", "instantbooth", "kim_sod_cnn"])
def test_prompts_without_the_word_see_nothing_of_the_subject(base: Any, rex: Subject, name: str) -> None:
    """A word acts only where it is named: two subjects paint the same picture where neither is named. InstantBooth's
    adapters, which see the reference images for every prompt, are off here."""
    from limner.pocket.subjects import toy

    off = {"beta": 0.0} if name == "instantbooth" else {"candidates": 1} if name == "kim_sod_cnn" else {}
    first, second = (limner.learn(base, s, method=name, **off) for s in (rex, toy("dog", 2_000_099)))
    assert painted(base, first, "a red car") == painted(base, second, "a red car")


# ---------------------------------------------------------------------------------------------------------------- ELITE


def on_few_toys(recipe: Recipe) -> Recipe:
    """The same recipe, pre-trained on a small corpus."""
    small: dict[Source, Source] = {}

    def moved(term: Objective) -> Objective:
        if term.source not in small:
            assert term.source.over is not None
            small[term.source] = term.source.over(toys(individuals=4))
        return replace(term, source=small[term.source])

    stages = (replace(stage, loss=tuple(moved(term) for term in stage.loss)) for stage in recipe.stages)
    return replace(recipe, stages=tuple(stages))


def test_elite_has_five_words_while_the_word_learns_and_one_afterwards(base: Any) -> None:
    """Seen in both stages of its pre-training: the number of words, and whether details were there."""
    recipe = on_few_toys(methods()["elite"](NOBODY, steps=1, local_steps=1, batch=2))
    seen: dict[int, tuple[int, bool]] = {}

    def watching(stage: int) -> Objective:
        def value(step: Step) -> Tensor:
            kept = step.prediction.run
            assert kept is not None
            values = any(name.startswith("elite.local values") for name in kept.activations)
            seen[stage] = kept.activations["picture words"].shape[1], values
            return step.prediction.output.new_zeros(())

        return Objective("watching", recipe.stages[stage].loss[0].source, value)

    stages = [replace(stage, loss=(*stage.loss, watching(k))) for k, stage in enumerate(recipe.stages)]
    for progress in train(base, Adapter(recipe, "<nobody>"), stages=stages):
        assert math.isfinite(progress.loss)
    assert seen == {0: (5, False), 1: (1, True)}


def test_elite_learns_word_and_keys_first_and_then_details_alone(base: Any) -> None:
    first, second = trained_tensors("elite", base)
    assert not first & second
    assert {name.split(".")[1] for name in first if name.startswith("elite")} == {"keys"}
    sites = {site.name for site in base.sites if site.kind == "cross"}
    assert {
        name.removeprefix("elite.keys.denoiser.").rpartition(".")[0].rpartition(".")[0]
        for name in first
        if ".keys." in name
    } == sites
    assert all(name.startswith("elite.local.") for name in second)


def elite_worn(base: Any, rex: Subject, **more: Any) -> Adapter:
    return Adapter(methods()["elite"](rex, **more), rex.handle, shipped("elite", base))


def test_elite_without_details_is_the_word_alone(base: Any, rex: Subject) -> None:
    """At lambda 0 the details are nowhere: the same picture as by a recipe that has no such modifier."""
    recipe = methods()["elite"](rex, local=0.0)
    stored = shipped("elite", base)
    bare = {key: value for key, value in stored.items() if not key.startswith("elite.local")}
    with torch.no_grad(), attach(base, [Adapter(recipe, rex.handle, stored)]) as adapted:
        first = one_run(base, adapted)
    with (
        torch.no_grad(),
        attach(base, [Adapter(replace(recipe, modifiers=recipe.modifiers[:2]), rex.handle, bare)]) as adapted,
    ):
        second = one_run(base, adapted)
    assert torch.equal(first, second)
    with torch.no_grad(), attach(base, [elite_worn(base, rex)]) as adapted:
        assert not torch.equal(one_run(base, adapted), first)


def one_run(base: Any, adapted: AdaptedBase, prompt: str = "a photo of <rex>", *operations: Any) -> Tensor:
    """A prediction as in painting, without guidance."""
    x = torch.randn(1, *base.latent_shape, generator=torch.Generator().manual_seed(1))
    t = torch.tensor([500])
    run = adapted.run(time=t, prompts=(adapted.expand_prompt(prompt),))
    run.operations += operations
    output: Tensor = base.predict(x, t, adapted.text_states([prompt]), context=run)
    return output


def test_elite_details_are_zero_where_the_word_is_not_read(base: Any, rex: Subject) -> None:
    """The word's maps are set to zero in half of the places: there the layer gives what it gives without details."""
    outputs: dict[float, dict[str, Tensor]] = {}
    for strength in (0.0, 0.8):
        found = outputs.setdefault(strength, {})

        def blind_half(call: Any, found: dict[str, Tensor] = found) -> Any:
            if call.site.kind == "cross" and call.site.index == 0:

                def blind(maps: Tensor) -> Tensor:
                    place = base.word_places(call.run.prompts[0], "<rex>", words={"<rex>": torch.zeros(1, 1)})[0]
                    maps = maps.clone()
                    maps[:, :, : maps.shape[2] // 2, place] = 0
                    return maps

                def note(out: Tensor) -> Tensor:
                    found["out"] = out
                    return out

                call.on_maps.insert(0, blind)
                call.on_output.append(note)
            return call

        with torch.no_grad(), attach(base, [elite_worn(base, rex, local=strength)]) as adapted:
            one_run(base, adapted, "a photo of <rex>", blind_half)
    without, with_details = outputs[0.0]["out"], outputs[0.8]["out"]
    half = without.shape[2] // 2
    assert torch.equal(without[:, :, :half], with_details[:, :, :half])
    assert not torch.isclose(without[:, :, half:], with_details[:, :, half:]).all()


def test_the_gate_is_the_word_s_map_scaled_to_one() -> None:
    maps = torch.tensor([[[0.1, 0.0], [0.2, 0.4]], [[0.0, 0.0], [0.0, 0.0]]])
    assert torch.allclose(gate(maps)[0], torch.tensor([[0.25, 0.0], [0.5, 1.0]]))
    assert not gate(maps)[1].any()


def test_elite_keeps_words_and_values_small(base: Any) -> None:
    """The penalties are what they say, of what the run made."""
    recipe = methods()["elite"](NOBODY, steps=1, local_steps=1, batch=2)
    names = [[term.name.split("(")[0] for term in stage.loss] for stage in recipe.pretraining]
    assert names == [["denoising", "magnitude of picture words"], ["denoising", "magnitude of elite.local values"]]
    assert [stage.loss[1].weight for stage in recipe.pretraining] == [0.01, 1e-4]

    class Taken:
        class prediction:
            output = torch.zeros(1)
            run = Pass(activations={"picture words": torch.tensor([1.0, -3.0]), "other": torch.ones(2)})

    assert recipe.stages[0].loss[1].value(Taken()) == 2.0  # type: ignore[arg-type]


def test_elite_s_mappers_have_the_layers_of_the_authors_on_a_full_size_base(base: Any) -> None:
    """Three linear maps of 1,024 for each depth, in both mappers, beside a perceptron of torch's own modules."""
    about = checked_settings(methods()["elite"], {}, base="stable-diffusion-v1-5")
    recipe = methods()["elite"](NOBODY, **about)
    with attach(base, [Adapter(recipe, "<nobody>")]) as adapted:
        for name in ("states.elite.places.4", "elite.local.whole.0"):
            own = {k.removeprefix(f"{name}."): t for k, t in adapted.tensors.items() if k.startswith(f"{name}.")}
            shapes = {key: tuple(tensor.shape) for key, tensor in own.items()}
            assert shapes["first"][0] == shapes["second"][1] == 1024
            assert shapes["between.0"] == (1024, 1024)
            assert "between.1" not in shapes
    into, out = own["first"].shape[1], own["second"].shape[0]
    alone_ = torch.nn.Sequential(
        *(torch.nn.LayerNorm(into, elementwise_affine=False), torch.nn.Linear(into, 1024), torch.nn.GELU()),
        *(torch.nn.LayerNorm(1024, elementwise_affine=False), torch.nn.Linear(1024, 1024), torch.nn.GELU()),
        torch.nn.Linear(1024, out, bias=False),
    )
    x = torch.randn(2, into, generator=torch.Generator().manual_seed(0))
    weights = {"1.weight": "first", "1.bias": "bias", "4.weight": "between.0", "4.bias": "between.0.bias"}
    with torch.no_grad():
        alone_.load_state_dict({place: own[part] for place, part in {**weights, "6.weight": "second"}.items()})
        wanted = alone_(x)
    assert torch.allclose(perceptron({f"x.{key}": t for key, t in own.items()}, "x", x), wanted, atol=1e-4)


def test_depths_are_layers_of_clip(base: Any) -> None:
    pixels = references(base).first
    found = clip_depths((1.0, 0.0, 0.5))(base, pixels)
    with torch.no_grad():
        states = base.picture_states(pixels)  # a third, two thirds and all of four layers: 1, 2, 4
    count = states.shape[1] // 3
    assert torch.equal(found[:, :, 0], states[:, 2 * count :])
    assert torch.equal(found[:, :, 2], states[:, count : 2 * count])
    assert found[0, 0, 1].equal(
        found[1, 0, 1]
    )  # the class token at the first layer's input does not depend on the picture


def test_details_are_zero_off_the_subject(base: Any) -> None:
    from limner.parts.fusion import details_of_depths

    seen = alone(placed(clip_depths((1.0, 0.5))))(base, references(base))
    start, details = details_of_depths()(base, tuple(seen.shape), torch.Generator().manual_seed(0))
    found = details(start, seen).unflatten(1, (2, 8, 8))  # pictures, places
    assert found[:, :, :4, :4].abs().sum(-1).min() > 0
    assert not found[:, :, 4:].any()
    assert not found[:, :, :, 4:].any()


# -------------------------------------------------------------------------------------------------------- UMM-Diffusion


def test_umm_diffusion_at_alpha_zero_is_the_base(base: Any, rex: Subject) -> None:
    concept = limner.learn(base, rex, method="umm_diffusion", alpha=0.0)
    bare = limner.paint(base, "dog on the beach", seed=1, settings=QUICK)[0].image.tobytes()
    assert painted(base, concept) == bare
    assert painted(base, limner.learn(base, rex, method="umm_diffusion")) != bare


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_fused_guidance_is_a_convex_mix(scale: float) -> None:
    says = {"negative": 1.0, "text": 5.0, "plain": 2.0}
    asked = []

    def denoise(x: Tensor, t: Tensor, *, branches: tuple[str, ...] = ("text",)) -> tuple[Tensor, ...]:
        asked.append(branches)
        return tuple(x + says[branch] for branch in branches)

    def guided(alpha: float) -> float:
        return float(fused_guidance(alpha)(denoise, scale)(torch.zeros(1), torch.zeros(1))[0])

    both = {name: 1 + scale * (says[name] - 1) for name in ("text", "plain")}
    assert guided(0.25) == pytest.approx(0.25 * both["text"] + 0.75 * both["plain"])
    assert guided(0.0) == both["plain"]
    assert guided(1.0) == both["text"]
    assert "text" not in asked[1]
    assert "plain" not in asked[2]


def test_fused_guidance_wants_a_share() -> None:
    with pytest.raises(InputError, match="from 0 to 1"):
        fused_guidance(1.5)


def test_umm_diffusion_learns_its_mapping_alone_and_puts_in_one_word(base: Any) -> None:
    (names,) = trained_tensors("umm_diffusion", base)
    assert {name.split(".")[2] for name in names} == {"base", "word"}
    recipe = methods()["umm_diffusion"](NOBODY)
    with attach(base, [Adapter(recipe, "<nobody>")]) as adapted:
        _, run = taught_run(adapted, base, references(base), "a photo of <nobody>")
    assert run.activations["picture words"].shape[1] == 1


def test_a_close_up_is_the_subject_s_box(base: Any) -> None:
    """Beside slicing and resizing: the quarter that the mask takes, and nothing else of the picture."""
    shown, seen = references(base), []

    def note(_: Any, references: References) -> Tensor:
        seen.append(references)
        return references.pixels

    near = close_up(note, margin=0.0)(base, shown)
    half = base.picture_size // 2
    wanted = F.interpolate(
        shown.pixels[..., :half, :half].flatten(0, 1), scale_factor=2, mode="bilinear", align_corners=False
    )
    inner = slice(2, -2)  # at the edges, sampling sees the pixels beyond the box
    assert torch.allclose(near.flatten(0, 1)[..., inner, inner], wanted[..., inner, inner], atol=1e-5)
    assert seen[0].masks.min() >= 0.25  # type: ignore[union-attr]
    blank = References(shown.pixels, torch.zeros_like(shown.masks))  # type: ignore[arg-type]
    assert torch.allclose(close_up(mean_of(clip_global))(base, blank), mean_of(clip_global)(base, blank), atol=1e-4)


# --------------------------------------------------------------------------------------------------------- InstantBooth


def test_instantbooth_starts_as_the_model_without_patches(base: Any, rex: Subject) -> None:
    """Every gate is zero at first: nothing of the adapter layers is in the output, and only the gates have a
    gradient."""
    recipe = methods()["instantbooth"](rex)
    patches = recipe.modifiers[1]
    with attach(base, [Adapter(recipe, rex.handle)]) as adapted:
        own = {n: t for n, t in adapted.live[patches].tensors.items() if isinstance(t, torch.nn.Parameter)}
        for tensor in own.values():
            tensor.requires_grad_(True)
        with_adapters, _ = taught_run(adapted, base, references(base), "a photo of <rex>")
        with_adapters.square().sum().backward()
        moved = {name for name, tensor in own.items() if tensor.grad is not None and tensor.grad.any()}
        adapted.live[patches].operations = ()
        without, _ = taught_run(adapted, base, references(base), "a photo of <rex>")
    assert torch.allclose(with_adapters, without, atol=1e-5)
    assert moved == {name for name in own if name.endswith("gamma")}


def test_instantbooth_s_layer_is_self_attention_over_places_and_patches() -> None:
    """Beside torch's attention of two heads with the same matrices, of whose output the places are kept."""
    make = torch.Generator().manual_seed(0)
    hidden, states = torch.randn(2, 5, 8, generator=make), torch.randn(2, 3, 6, generator=make)
    sizes = {"query": (8, 8), "key": (8, 8), "value": (8, 8), "out": (8, 8), "features": (8, 6)}
    own = {name: torch.randn(*size, generator=make) for name, size in sizes.items()}
    both = torch.cat([hidden, states @ own["features"].T], 1)
    layer = torch.nn.MultiheadAttention(8, 2, bias=False, batch_first=True)
    with torch.no_grad():
        layer.in_proj_weight.copy_(torch.cat([own["query"], own["key"], own["value"]]))
        layer.out_proj.weight.copy_(own["out"])
        wanted = layer(both, both, both)[0][:, :5]
    assert torch.allclose(attended(hidden, states, own), wanted, atol=1e-5)


def test_instantbooth_s_word_can_be_shortened_while_painting(base: Any, rex: Subject) -> None:
    concept = limner.learn(base, rex, method="instantbooth", token_norm=0.5)
    mean = base.word_table().norm(dim=1).mean()
    with torch.no_grad(), attach(base, [adapter_of(concept, base)]) as adapted:
        t = torch.tensor([500])
        run = adapted.run(time=t, prompts=(adapted.expand_prompt("a photo of <rex>"),))
        base.predict(torch.randn(1, *base.latent_shape), t, adapted.text_states(["a photo of <rex>"]), context=run)
    assert run.activations["picture words"].norm() == pytest.approx(float(0.5 * mean), rel=1e-4)


def test_instantbooth_s_patches_are_all_pictures_and_its_word_their_mean(base: Any, rex: Subject) -> None:
    concept = limner.learn(base, rex, method="instantbooth")
    count = len(rex.pictures)
    assert concept.tensors["instantbooth.adapter.features"].shape[1] % count == 0
    one = limner.learn(base, Subject(rex.handle, rex.noun, rex.pictures[:1]), method="instantbooth")
    places = one.tensors["instantbooth.adapter.features"].shape[1]
    assert concept.tensors["instantbooth.adapter.features"].shape[1] == count * places
    shape = concept.tensors["states.instantbooth.features"].shape
    assert shape == one.tensors["states.instantbooth.features"].shape


# ------------------------------------------------------------------------------------------------ Kim et al., SOD + CNN


def test_the_cnn_sees_the_subject_alone(base: Any) -> None:
    """Whatever is painted around the subject, the details are the same; what is painted on it changes them."""
    shown = references(base)
    assert shown.masks is not None
    around = References(torch.where(shown.masks > 0, shown.pixels, torch.rand_like(shown.pixels)), shown.masks)
    on_it = References(torch.where(shown.masks > 0, 1 - shown.pixels, shown.pixels), shown.masks)
    look = pictures_alone()
    start, details = details_of_pixels()(base, (1, 1, 4, 64, 64), torch.Generator().manual_seed(0))
    first, second, third = (details(start, look(base, s)) for s in (shown, around, on_it))
    assert first.shape == (2, 2 * (8 * 8 + 4 * 4), base.states_shape[1])
    assert torch.equal(first, second)
    assert not torch.allclose(first, third)


def test_the_details_are_convolutions(base: Any) -> None:
    """A picture moved by eight of its pixels has its details moved by one place (in the middle of it)."""
    start, details = details_of_pixels(widths=(8, 8, 16))(base, (1, 1, 4, 64, 64), torch.Generator().manual_seed(0))
    seen = torch.ones(1, 1, 4, 64, 64)
    seen[..., :3, 24:40, 24:40] = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(1))
    first, moved = (details(start, x)[:, 16 * 16 :].unflatten(1, (8, 8)) for x in (seen, seen.roll(8, -1)))
    assert torch.allclose(first[:, 2:6, 2:5], moved[:, 2:6, 3:6], atol=1e-4)


def test_of_candidates_the_nearest_is_kept(base: Any, rex: Subject) -> None:
    """The picture that comes out is the one of three, painted by itself, whose embedding is nearest to the
    subject's."""
    from limner.core.subject import Subject as Seen
    from limner.workflows.paint import APART

    one, three = (limner.learn(base, rex, method="kim_sod_cnn", candidates=n) for n in (1, 3))
    alone_ = [
        limner.paint(base, "<rex> on the beach", concepts=[one], seed=7 + k * APART, settings=QUICK)[0].image
        for k in range(3)
    ]
    pixels = Seen.of(alone_, noun="dog", handle="rex").tensor(base.picture_size)
    near = torch.cosine_similarity(base.picture_features(pixels), one.tensors["states.kim_sod_cnn.features"], dim=-1)
    kept = limner.paint(base, "<rex> on the beach", concepts=[three], seed=7, settings=QUICK)[0]
    assert kept.seed == 7
    assert kept.image.tobytes() == alone_[int(near.argmax())].tobytes()


def test_one_candidate_is_no_choice(rex: Subject) -> None:
    word = methods()["kim_sod_cnn"](rex).modifiers[0]
    assert nearest(1, clip_global, word, "x") is None
    assert methods()["kim_sod_cnn"](rex, candidates=1).painting.candidates is None


def test_two_that_choose_cannot_be_worn_at_once(base: Any, rex: Subject) -> None:
    other = replace(rex, handle="<max>")
    both = [limner.learn(base, subject, method="kim_sod_cnn") for subject in (rex, other)]
    adapters = [adapter_of(concept, base) for concept in both]
    adapted = AdaptedBase(base, tuple(adapters))
    with pytest.raises(InputError, match="choose among candidates"):
        _ = adapted.candidates


def test_low_rank_keys_and_values_are_those_layers_alone(base: Any) -> None:
    names = {f"{name}.weight" for name in base.projections("cross_attention_kv")}
    assert names == {name for name in base.select("cross_attention_kv") if name.endswith("weight")}
