"""The ingredients of recipes, asked of the recipes themselves: without one in the method's file, a test fails."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from limner.core.adapted import Moment
from limner.core.method import settings
from limner.core.recipe import Rated
from limner.core.streams import stream, streams
from limner.core.subject import Subject
from limner.core.types import AttentionCall, Batch, Pass, Site
from limner.core.weights import shipped
from limner.engine.attach import Adapter, attach
from limner.engine.train import Update
from limner.library.settings import checked_settings
from limner.methods import methods
from limner.parts.augmentations.plain import on_plain
from limner.parts.encoders import clip_depths, clip_global, subject_masks
from limner.parts.modifiers import maps_of
from limner.parts.modifiers.words import nearest, real_words
from limner.parts.sources.corpus import Shelf
from limner.pocket.corpus import toys
from limner.pocket.subjects import toy

from .test_object_methods import spied
from .test_pairs_pools_rewards import pooled

NOBODY = Subject("<nobody>", "toy")
PRESERVING = [name for name, function in methods().items() if any(s.name == "prior_weight" for s in settings(function))]


def first_batch(base: Any, term: Any, seed: int = 0) -> Batch:
    """The first batch of a term's source; of a source of a corpus, on a few toys."""
    source = term.source.over(toys(individuals=6)) if term.source.over else term.source
    batch: Batch = source.prepare(base)(0, streams(seed, source.name, 0, 0))
    return batch


def update_of(adapted: Any, batch: Batch, *times: int) -> Update:
    """A step of training on a batch."""
    noise = torch.randn(batch.latents.shape, generator=stream(0, "noise"))
    update = Update(adapted, batch, torch.tensor(times), noise, streams(0, 0))
    update.together = [update]
    return update


# ------------------------------------------------------------------------------------------- shared by several methods


@pytest.mark.parametrize("name", PRESERVING)
def test_the_prior_s_weight_is_that_of_the_class_images(rex: Subject, name: str) -> None:
    """Every method with a prior weight paints no class image where that is 0."""
    about: dict[str, Any] = {"encoder": False} if name == "dreamtuner" else {}
    for weight in (0.7, 0.0):
        recipe = methods()[name](rex, prior_weight=weight, **about)
        terms = [term for stage in recipe.tuning for term in stage.loss if term.source.learns_from == "class"]
        assert {term.weight for term in terms} == ({weight} if weight else set())
        assert weight or not [note for note in recipe.notes if "class" in note]


@pytest.mark.parametrize(
    ("name", "number", "least"),
    [
        ("break_a_scene", 0, 0.0),
        ("infusion", 0, 0.1),
        ("perfusion", 0, 0.1),
        ("hifi_tuner", 0, 0.0),
        ("lu_prototypical", 1, 0.0),
    ],
)
def test_the_loss_counts_on_the_subject_and_outside_of_it_as_much_as_the_paper_says(
    base: Any, rex: Subject, name: str, number: int, least: float
) -> None:
    for stage in methods()[name](rex, batch=3).tuning[number:]:
        mask = first_batch(base, stage.loss[0]).mask
        assert mask is not None
        assert float(mask.min()) == pytest.approx(least)
        assert float(mask.max()) == 1.0
        assert mask.mean() < 0.9


@pytest.mark.parametrize(
    ("name", "stage", "factors"),
    [
        ("perfusion", 0, [0.2, 1.0]),
        ("vico", 0, [1.0, 0.2]),
        ("dci", 0, [1.0, 1.0, 3.0]),
        ("bootpig", 0, [1.0, 0.2]),
        ("instantbooth", 0, [1.0, 10.0]),
        ("moma", 1, [1.0, 10.0]),
    ],
)
def test_parts_of_a_recipe_learn_at_rates_of_their_own(
    rex: Subject, name: str, stage: int, factors: list[float]
) -> None:
    about = {"context_rate": 3.0} if name == "dci" else {}
    train = methods()[name](rex, **about).stages[stage].train
    assert [part.factor if isinstance(part, Rated) else 1.0 for part in train] == factors


LOSSES: dict[str, tuple[str, ...]] = {
    "blip_diffusion": (
        "1 picture-text contrast(captioned) + 1 picture-text matching(captioned)",
        "1 denoising(pairs)",
    ),
    "break_a_scene": 2 * ("1 denoising(photos) + 1 denoising(class pictures) + 0.01 attention on mask(photos)",),
    "cafe": (
        "1 like the text tower(texts) + 1 like the text tower(pairs)",
        "1 denoising(pairs) + 1 like the text tower(texts) + 0.1 explanation(pairs)",
        "1 refinement(pairs) + 1 denoising(pairs) + 0.1 explanation(pairs)",
    ),
    "clic": ("0.5 denoising(photos) + 0.25 denoising(photos) + 0.25 attention on mask(photos)",),
    "compositional_inversion": ("0.05 denoising(photos) + 0.95 near anchor(photos)",),
    "core": ("1 denoising(photos) + 0.1 context states(photos) + 1 context maps(photos)", "1 denoising(photos)"),
    "coti": 21 * ("1 denoising(growing pool)",),
    "custom_contrast": ("1 denoising(pairs) + 0.02 semantic contrast(pairs) + 0.05 appearance contrast(pairs)",),
    "custom_diffusion": ("1 denoising(rescaled photos) + 1 denoising(class pictures)",),
    "detex": ("1 denoising(photos) + 0.5 denoising(photos of the subject) + 0.5 denoising(photos of the background)",),
    "diffnat": ("1 denoising(photos) + 1 denoising(class pictures) + 0.0001 kurtosis gap(photos)",),
    "disenbooth": ("1 denoising(photos) + 0.01 without the picture(photos) + 0.001 apart(photos)",),
    "disendreamer": (
        "1 denoising(photos) + 0.01 without the picture(photos) + 0.01 the picture alone(photos) + 0.001 apart(photos)",
    ),
    "domain_agnostic": (
        "1 denoising(pairs) + 0.01 among words(pairs) + 0.001 short picture words(pairs)",
        "1 denoising(photos)",
    ),
    "dreambooth_pp": ("1 denoising(photos) + 1 denoising(packed photos) + 0.3 distillation(photos)",),
    "dreamdistribution": ("1 denoising(photos) + 0.001 prompts apart(photos)",),
    "dreamtuner": ("1 denoising(pairs)", "1 denoising(photos) + 1 denoising(class pictures)"),
    "e4t": (
        "1 denoising(pairs) + 0.01 short word offset(pairs)",
        "1 denoising(photos) + 0.1 short word offset(photos)",
    ),
    "elite": (
        "1 denoising(pairs) + 0.01 magnitude of picture words(pairs)",
        "1 denoising(pairs) + 0.0001 magnitude of elite.local values(pairs)",
    ),
    "hifi_tuner": 2 * ("1 denoising(photos)",),
    "instructbooth": ("1 denoising(photos) + 1 denoising(class pictures)", "1 policy gradient(prompts)"),
    "kim_sod_cnn": 2 * ("1 denoising(pairs)",),
    "kosmos_g": ("1 alignment(texts)", "1 denoising(pairs) + 1 alignment(texts)"),
    "lego": ("1 denoising(photos) + 1 denoising(class pictures) + 0.1 contrast(photos)",),
    "lu_prototypical": (
        "1 prototype(whole photos)",
        "1 denoising(photos) + 0.2 denoising(whole photos) + 0.01 near its start(whole photos)",
    ),
    "matte": ("1 denoising(photos) + 0.01 object near its noun + 0.01 colour and style apart",),
    "mc_ti": ("1 denoising(classes) + 1 recognition answer(recognition)",),
    "moma": ("1 feature regression(pairs)", "1 denoising(pairs)"),
    "pair_customization": ("1 denoising(class pictures)", "1 denoising(class pictures) + 1 denoising(photos)"),
    "taming_encoder": (
        "1 denoising(pairs) + 0.5 denoising(pairs without subject) + 0.05 same identity(pairs for identity)",
    ),
    "vico": ("1 denoising(photos) + 0.0005 attention consistency(photos)",),
}
"""The loss of every stage on a full-size base, as papers and the authors' repositories have it, for methods whose loss
has more than one term or stage. Weights that nobody published are those of the small base."""


@pytest.mark.parametrize("name", LOSSES)
def test_each_stage_learns_by_the_terms_and_weights_of_its_paper(rex: Subject, name: str) -> None:
    function = methods()[name]
    recipe = function(rex, **checked_settings(function, {}, base="stable-diffusion-v1-5"))
    found = tuple(" + ".join(f"{term.weight:g} {term.name}" for term in stage.loss) for stage in recipe.stages)
    assert found == LOSSES[name]


NAMED = ("umm_diffusion", "elite", "blip_diffusion", "kim_sod_cnn", "e4t", "domain_agnostic", "custom_contrast")


@pytest.mark.parametrize("name", [*NAMED, "instantbooth", "cafe", "kosmos_g"])
def test_captions_of_the_corpus_name_the_subject_by_its_word(base: Any, name: str) -> None:
    stage = methods()[name](NOBODY, batch=4).pretraining[-1]
    term = next(term for term in stage.loss if term.name.startswith("denoising"))
    prompts = [prompt for prompt in first_batch(base, term).prompts if prompt]
    named = f"{NOBODY.handle} toy" if name == "instantbooth" else NOBODY.handle
    nouns = {toys(individuals=6).noun(k) for k in range(24)}
    assert prompts
    for prompt in prompts:
        assert NOBODY.handle in prompt
        assert (name == "instantbooth") == any(f"{NOBODY.handle} {noun}" in prompt for noun in nouns), named


@pytest.mark.parametrize(
    ("name", "dropped"),
    [
        ("ip_adapter", (0.05, 0.05, 0.05)),
        ("blip_diffusion", (0.15, 0.0, 0.05)),
        ("bootpig", (0.15, 0.15, 0.0)),
        ("versatile_diffusion", (0.1, 0.0, 0.0)),
        ("kosmos_g", (0.2, 0.1, 0.05)),
    ],
)
def test_pictures_texts_and_both_are_left_out_with_the_probabilities_of_the_method(
    base: Any, monkeypatch: pytest.MonkeyPatch, name: str, dropped: tuple[float, ...]
) -> None:
    asked: list[tuple[float, ...]] = []
    part = import_module("limner.parts.sources.pairs")
    real = part.dropped_rows

    def noted(batch: int, *about: Any) -> Any:
        asked.append(about[:3])
        return real(batch, *about)

    monkeypatch.setattr(part, "dropped_rows", noted)
    first_batch(base, methods()[name](NOBODY, batch=2).pretraining[-1].loss[0])
    assert asked == [dropped]


@pytest.mark.parametrize(("name", "stage"), [("elite", 0), ("elite", 1), ("instantbooth", 0), ("bootpig", 0)])
def test_references_are_changed_before_they_are_shown(base: Any, name: str, stage: int) -> None:
    """Turned, moved, mirrored or erased: of many, few are a picture of the corpus as it is."""
    shown = first_batch(base, methods()[name](NOBODY, batch=12).stages[stage].loss[0]).references
    assert shown is not None
    shelf = Shelf(toys(individuals=6), base)
    every, masks = shelf.pixels(range(24)), shelf.masks(range(24))
    if name == "bootpig":
        assert masks is not None
        every = on_plain(every, masks)
    near = (shown.pixels[:, 0, None] - every).abs().mean((2, 3, 4)).amin(1)
    assert int((near < 1e-3).sum()) <= 4


MULTI = ("custom_diffusion", "svdiff", "perfusion", "compositional_inversion", "lu_prototypical", "mc_ti")


@pytest.mark.parametrize("name", MULTI)
def test_two_concepts_of_a_method_for_several_subjects_both_act_in_one_picture(
    base: Any, rex: Subject, name: str
) -> None:
    """Both are attached and named; with either as it was before its first update, the prediction is another one."""
    subjects = {"<rex>": rex, "<tom>": toy("cat", 2_000_031, count=2, name="tom")}
    adapters: dict[str, dict[bool, Adapter]] = {}
    for number, (handle, subject) in enumerate(subjects.items()):
        recipe = methods()[name](subject, **({"captions": 20} if name == "perfusion" else {}))
        with torch.no_grad(), attach(base, [Adapter(recipe, handle)]) as adapted:
            start = {key: tensor.clone() for key, tensor in adapted.tensors.items()}
            learning = {key: t.clone() for part in recipe.stages[-1].train for key, t in part(adapted).items()}
        moved = {
            key: t + (0.3 * t.std() if t.any() else 0.05) * torch.randn(t.shape, generator=stream(number, key))
            for key, t in learning.items()
        }
        adapters[handle] = {
            on: Adapter(recipe, handle, {**start, **(moved if on else learning)}) for on in (True, False)
        }

    def predicted(*learned: str) -> Tensor:
        prompt = "<rex> and <tom> on the beach"
        x, t = torch.randn(1, *base.latent_shape, generator=stream(0, "x")), torch.tensor([600])
        with torch.no_grad(), attach(base, [adapters[handle][handle in learned] for handle in subjects]) as adapted:
            run = adapted.run(time=t, prompts=(adapted.expand_prompt(prompt),))
            output: Tensor = base.predict(x, t, adapted.text_states([prompt]), context=run)
        return output

    both = predicted("<rex>", "<tom>")
    assert bool(both.isfinite().all())
    for handle in subjects:
        assert (both - predicted(handle)).norm() > 1e-3 * both.norm()


# ---------------------------------------------------------------------------------------------------- tuned per subject


def test_hiper_s_block_is_shorter_in_sampling(base: Any, rex: Subject) -> None:
    """0.8 of its length (script.sh of HiPer0/HiPer), and its whole length in training."""
    seen: dict[bool, Tensor] = {}
    with torch.no_grad(), attach(base, [Adapter(methods()["hiper"](rex), rex.handle)]) as adapted:
        (block,) = adapted.tensors.values()
        for training in (True, False):

            def note(call: AttentionCall, training: bool = training) -> AttentionCall:
                if call.site.kind == "cross":
                    seen[training] = call.states[0, -len(block) :].clone()
                return call

            t = torch.tensor([500])
            run = adapted.run(time=t, prompts=("<rex>",), random=streams(0) if training else None)
            run.operations = (*run.operations, note)
            base.predict(torch.zeros(1, *base.latent_shape), t, adapted.text_states(["<rex>"]), context=run)
    assert torch.allclose(seen[True], block, atol=1e-5)
    assert torch.allclose(seen[False], 0.8 * block, atol=1e-5)


def test_coti_learns_from_a_growing_set_and_scores_every_cycle(base: Any, rex: Subject) -> None:
    recipe = methods()["coti"](pooled(rex), cycles=2, queries=1, batch=32, num_class_pictures=8)
    counts = [len(torch.unique(first_batch(base, stage.loss[0]).latents, dim=0)) for stage in recipe.stages]
    assert counts == [2, 3, 4]
    assert all(stage.score is not None for stage in recipe.stages)


def test_persam_carries_the_first_picture_s_mask_to_the_others(base: Any, rex: Subject) -> None:
    """The other pictures' own masks, here everything, are not looked at."""
    size = base.picture_size
    own = subject_masks(base, rex)[:1].expand(1, 3, size, size)
    pixels = [p.image for p in rex.pictures]
    marked = Subject.of(pixels, noun="dog", handle="rex", masks=[*own, *torch.ones(2, 3, size, size)])
    batch = first_batch(base, methods()["persam"](marked, batch=3).stages[0].loss[0])
    assert batch.mask is not None
    assert batch.mask.mean((1, 2, 3)).max() < 0.9


def test_disenbooth_pulls_text_and_picture_apart(base: Any, rex: Subject) -> None:
    """The third term is their cosine, with a positive weight, as in the authors' code (the decade survey says the
    opposite)."""
    recipe = methods()["disenbooth"](rex, batch=2)
    plain, weak, apart = recipe.stages[0].loss
    assert (plain.weight, weak.weight, apart.weight) == (1.0, 0.01, 0.001)
    with torch.no_grad(), attach(base, [Adapter(recipe, rex.handle)]) as adapted:
        update = update_of(adapted, first_batch(base, plain), 300, 600)
        run = update.prediction.run
        assert run is not None
        text = adapted.text_states(update.batch.prompts).mean(1)
        cosine = F.cosine_similarity(text, run.activations["image_added"], dim=-1).mean()
        assert abs(float(cosine)) > 1e-3
        assert float(apart.value(update)) == pytest.approx(float(cosine), rel=1e-4)


@pytest.mark.parametrize("name", ["he_data_perspective", "break_a_scene"])
def test_the_text_encoder_learns_with_the_denoiser(base: Any, rex: Subject, name: str) -> None:
    recipe = methods()[name](rex)
    with attach(base, [Adapter(recipe, rex.handle)]) as adapted:
        names = {key.split(".")[0] for part in recipe.stages[-1].train for key in part(adapted)}
    assert {"denoiser", "text_encoder"} <= names


def test_matte_holds_the_object_near_its_noun_and_colour_apart_from_style(base: Any, rex: Subject) -> None:
    recipe = methods()["matte"](rex, object_weight=0.3, apart_weight=0.2)
    near, apart = recipe.stages[0].loss[1:]
    assert (near.weight, apart.weight) == (0.3, 0.2)
    with torch.no_grad(), attach(base, [Adapter(recipe, rex.handle)]) as adapted:
        step: Any = SimpleNamespace(adapted=adapted)
        assert float(near.value(step)) == pytest.approx(0.0, abs=1e-9)
        wide = base.word_vectors("dog").shape[-1]
        shifts = {name: torch.randn(wide, generator=stream(0, name)) for name in ("object", "colour", "style")}
        for name, shift in shifts.items():
            adapted.tensors[f"varying.<rex>.{name}"] += shift
        cosine = F.cosine_similarity(shifts["colour"], shifts["style"], dim=0)
        assert float(near.value(step)) == pytest.approx(float(shifts["object"].square().mean()), rel=1e-4)
        assert float(apart.value(step)) == pytest.approx(float(cosine.square()), rel=1e-3)


def test_clic_learns_all_of_cross_attention_and_localises_its_word(base: Any, rex: Subject) -> None:
    """Queries and outputs too; maps are scaled from 0 to 1 before they are compared with the mask."""
    recipe = methods()["clic"](rex)
    (stage,) = recipe.stages
    with torch.no_grad(), attach(base, [Adapter(recipe, rex.handle)]) as adapted:
        learning = {id(t) for part in stage.train for t in part(adapted).values()}
        for site in (site for site in base.sites if site.kind == "cross"):
            layers = (*base.query_out(site), *base.key_value(site))
            assert all(id(layer.weight) in learning for layer in layers)
        term = stage.loss[2]
        update = update_of(adapted, first_batch(base, term), 100, 400)
        value, run, mask = float(term.value(update)), update.prediction.run, update.batch.mask
        assert run is not None
        assert mask is not None
        maps = maps_of(run.activations, cast(Any, recipe.modifiers[1]))
        low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
        wanted = F.interpolate((mask > 0.5).float(), maps.shape[-2:], mode="area")[:, 0]
        assert value == pytest.approx(float((((maps - low) / (high - low)) - wanted).square().mean()), rel=1e-4)


def test_clic_paints_with_guidance_into_the_canvas_s_mask(base: Any, rex: Subject) -> None:
    recipe = methods()["clic"](rex)
    where = torch.zeros(1, 1, *base.latent_shape[1:])
    where[..., : base.latent_shape[2] // 2] = 1
    x, prompts = torch.randn(1, *base.latent_shape, generator=stream(0, "x")), ("<rex> in the snow",)
    with torch.no_grad(), attach(base, [Adapter(recipe, rex.handle)]) as adapted:
        moment = Moment(adapted, x, torch.tensor(500), 0, 10, prompts, adapted.text_states(prompts), where)
        (operation,) = adapted.adapters[0].recipe.painting.latents
        assert not torch.equal(operation(moment), x)


def test_hifi_tuner_paints_with_the_statistics_of_its_reference(base: Any, rex: Subject) -> None:
    assert not methods()["hifi_tuner"](rex, reference=0.0).painting.latents
    recipe = methods()["hifi_tuner"](rex)
    x, prompts = torch.randn(1, *base.latent_shape, generator=stream(0, "x")), ("a <rex>",)
    with torch.no_grad(), attach(base, [Adapter(recipe, rex.handle)]) as adapted:
        moment = Moment(adapted, x, torch.tensor(500), 4, 10, prompts, adapted.text_states(list(prompts)))
        (operation,) = recipe.painting.latents
        assert not torch.equal(operation(moment), x)


def test_instructbooth_s_second_stage_stays_near_the_first(base: Any, rex: Subject, tmp_path: Path) -> None:
    """Where a reward is the same for all pictures, the divergence alone is left; half of the prompts name the
    subject."""
    (tmp_path / "flat.py").write_text("def flat(base, pixels, prompts):\n    return pixels.new_ones(len(pixels))\n")
    about: dict[str, Any] = {"judge": f"{tmp_path / 'flat.py'}:flat", "reward_batch": 3}
    values = {}
    for weight in (0.0, 2.0):
        recipe = methods()["instructbooth"](rex, kl_weight=weight, **about)
        term = recipe.stages[1].loss[0]
        draw = term.source.prepare(base)
        with torch.no_grad(), attach(base, [Adapter(recipe, rex.handle)]) as adapted:
            for name, tensor in adapted.tensors.items():
                tensor += 0.1 * torch.randn(tensor.shape, generator=stream(0, name))
            values[weight] = float(term.value(update_of(adapted, draw(0, streams(0)), 0, 0, 0)))
    assert values[0.0] == pytest.approx(0.0, abs=1e-6)
    assert values[2.0] > 1e-4
    prompts = [prompt for step in range(40) for prompt in draw(step, streams(0, step)).prompts]
    assert 0.2 < sum(rex.handle in prompt for prompt in prompts) / len(prompts) < 0.8


def test_detex_s_background_is_all_that_is_not_the_subject(base: Any, rex: Subject) -> None:
    """In a batch of every picture, both masks together are the pictures' area."""
    _, alone, behind = (first_batch(base, term) for term in methods()["detex"](rex, batch=3).stages[0].loss)
    assert alone.mask is not None
    assert behind.mask is not None
    assert float(alone.mask.sum() + behind.mask.sum()) == pytest.approx(alone.mask.numel(), rel=1e-4)
    assert alone.mask.mean() < behind.mask.mean()


def test_lu_s_whole_pictures_and_start_have_weights_of_their_own(base: Any, rex: Subject) -> None:
    recipe = methods()["lu_prototypical"](rex, batch=3)
    subject, whole, start = recipe.stages[1].loss
    assert (subject.weight, whole.weight, start.weight) == (1.0, 0.2, 0.01)
    assert first_batch(base, whole).mask is None
    with torch.no_grad(), attach(base, [Adapter(recipe, rex.handle)]) as adapted:
        step: Any = SimpleNamespace(adapted=adapted)
        assert float(start.value(step)) == pytest.approx(0.0, abs=1e-9)
        adapted.tensors["word.<rex>"].mul_(1.5)
        assert float(start.value(step)) == pytest.approx(0.25, rel=1e-4)


def test_pair_customization_s_style_begins_at_time_800(rex: Subject) -> None:
    asked = []

    def denoise(x: Tensor, t: Tensor, *, branches: tuple[str, ...] = ("text",)) -> tuple[Tensor, ...]:
        asked.append(branches)
        return tuple({"negative": 0 * x, "plain": x, "text": 2 * x}[branch] for branch in branches)

    (guidance,) = methods()["pair_customization"](rex, style_guidance=4.0).painting.guidance
    found = [float(guidance(denoise, 5.0)(torch.ones(1, 1, 1, 1), torch.tensor([time]))[0]) for time in (801, 800)]
    assert found == [5.0, 5.0 + 4.0]


def test_dreamtuner_s_attention_is_weighed_as_asked(base: Any, rex: Subject) -> None:
    """The reference's patch tokens count by the setting: outputs differ between 2.5 and 1, and at 0 they are left
    out."""
    x, t = torch.randn(2, *base.latent_shape, generator=stream(0, "x")), torch.tensor([500, 500])
    outputs = {}
    for weight in (0.0, 1.0, 2.5):
        recipe = methods()["dreamtuner"](rex, encoder=False, attention=weight)
        with torch.no_grad(), attach(base, [Adapter(recipe, rex.handle)]) as adapted:
            run = adapted.run(time=t, prompts=("a dog", "a dog"), reference_stream=True)
            outputs[weight] = base.predict(x, t, adapted.text_states(["a dog"] * 2), context=run)[1]
    with torch.no_grad():
        bare = base.predict(x, t, base.text_states(["a dog"] * 2, words={}), context=Pass(time=t))[1]
    assert torch.allclose(outputs[0.0], bare, atol=1e-5)
    assert (outputs[1.0] - bare).norm() > 1e-3 * bare.norm()
    assert (outputs[2.5] - outputs[1.0]).norm() > 1e-3 * bare.norm()


# --------------------------------------------------------------------------------------------------------- trained once


def seen_by(base: Any, rex: Subject, cut: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """CLIP's mean embedding of the subject's pictures, each changed by its mask."""
    pixels, masks = rex.tensor(base.picture_size), subject_masks(base, rex)
    with torch.no_grad():
        return clip_global(base, cut(pixels, masks)).mean(0)


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("kim_sod_cnn", "states.kim_sod_cnn.features"),
        ("instantbooth", "states.instantbooth.features"),
        ("taming_encoder", "image.features"),
    ],
)
def test_the_embedding_is_of_the_subject_without_its_background(
    base: Any, rex: Subject, name: str, tensor: str
) -> None:
    with attach(base, [Adapter(methods()[name](rex), rex.handle, shipped(name, base))]) as adapted:
        found = adapted.tensors[tensor].flatten(0, -2).mean(0)
    assert torch.allclose(found, seen_by(base, rex, on_plain), atol=1e-4)
    assert not torch.allclose(found, seen_by(base, rex, lambda pixels, _: pixels), atol=1e-2)


def test_umm_diffusion_s_embedding_is_of_the_subject_s_box(base: Any, rex: Subject) -> None:
    """A close-up: neither the whole picture nor the picture without its background."""
    recipe = methods()["umm_diffusion"](rex)
    with attach(base, [Adapter(recipe, rex.handle, shipped("umm_diffusion", base))]) as adapted:
        found = adapted.tensors["states.umm_diffusion.features"][0]

    def cropped(pixels: Tensor, masks: Tensor) -> Tensor:
        boxes = []
        for picture, mask in zip(pixels, masks[:, 0] > 0.5, strict=True):
            rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
            part = picture[None, :, int(rows.min()) : int(rows.max()) + 1, int(columns.min()) : int(columns.max()) + 1]
            boxes.append(F.interpolate(part, pixels.shape[-2:], mode="bilinear", align_corners=False))
        return torch.cat(boxes)

    whole = seen_by(base, rex, lambda pixels, _: pixels)
    near = F.cosine_similarity(found, seen_by(base, rex, cropped), dim=0)
    assert near > F.cosine_similarity(found, whole, dim=0) + 0.01
    assert near > F.cosine_similarity(found, seen_by(base, rex, on_plain), dim=0) + 0.01


@pytest.mark.parametrize("name", ["elite", "kim_sod_cnn"])
def test_details_learn_where_the_subject_is_and_the_word_everywhere(base: Any, name: str) -> None:
    first, second = methods()[name](NOBODY, batch=2).stages
    assert first_batch(base, first.loss[0]).mask is None
    mask = first_batch(base, second.loss[0]).mask
    assert mask is not None
    assert 0 < float(mask.mean()) < 0.9


def test_elite_s_details_are_of_the_subject_alone(base: Any, rex: Subject) -> None:
    with attach(base, [Adapter(methods()["elite"](rex), rex.handle, shipped("elite", base))]) as adapted:
        found = adapted.tensors["elite.local.features"]
    pixels = on_plain(rex.tensor(base.picture_size), subject_masks(base, rex))
    depths = import_module("limner.methods.object.elite").DEPTHS
    wanted = clip_depths(depths)(base, pixels)  # [n, 1 + L, S, D]
    assert torch.allclose(found.flatten(0, 1)[..., :-1], wanted, atol=1e-4)


def test_instantbooth_s_patches_are_of_the_subject_alone(base: Any, rex: Subject) -> None:
    recipe = methods()["instantbooth"](rex)
    with attach(base, [Adapter(recipe, rex.handle, shipped("instantbooth", base))]) as adapted:
        found = adapted.tensors["instantbooth.adapter.features"]
    pixels = on_plain(rex.tensor(base.picture_size), subject_masks(base, rex))
    wanted = clip_depths(import_module("limner.methods.object.instantbooth").DEPTHS)(base, pixels)
    assert torch.allclose(found.flatten(), wanted.flatten(), atol=1e-4)


def test_blip_diffusion_learns_from_subjects_on_the_background_of_others(base: Any) -> None:
    """The recipe's own batches: reference and target share the subject, never the background."""
    term = methods()["blip_diffusion"](NOBODY, batch=3).stages[1].loss[0]
    batch = first_batch(base, term)
    shown = batch.references
    assert shown is not None
    assert shown.masks is not None
    apart, inside = (shown.pixels[:, 0] - base.decode(batch.latents)).abs(), shown.masks[:, 0] > 0.5
    for row in range(3):
        within, without = (apart[row][:, part].mean() for part in (inside[row, 0], ~inside[row, 0]))
        assert within < 0.08  # the autoencoder's own loss
        assert without > 0.08


def test_custom_contrast_s_batches_have_two_pictures_of_each_subject(base: Any) -> None:
    (stage,) = methods()["custom_contrast"](NOBODY, batch=6).stages
    shown = first_batch(base, stage.loss[0]).references
    assert shown is not None
    assert shown.identity is not None
    assert shown.identity.view(3, 2).diff().eq(0).all()
    assert not torch.equal(shown.pixels[0], shown.pixels[1])


def test_e4t_keeps_offsets_short_and_ten_times_more_so_in_tuning(rex: Subject) -> None:
    recipe = methods()["e4t"](rex, short_words=0.02)
    weights = [[term.weight for term in stage.loss if "short" in term.name] for stage in recipe.stages]
    assert weights == [[0.02], [0.2]]


def test_e4t_s_word_is_the_noun_and_an_offset_by_its_scale(base: Any, rex: Subject) -> None:
    x, t = torch.randn(1, *base.latent_shape, generator=stream(0, "x")), torch.tensor([500])
    words = {}
    for scale in (0.0, 0.1, 0.2):
        recipe = methods()["e4t"](rex, scale=scale)
        with torch.no_grad(), attach(base, [Adapter(recipe, rex.handle, shipped("e4t", base))]) as adapted:
            run = adapted.run(time=t, latents=x, prompts=("a photo of <rex>",))
            base.predict(x, t, adapted.text_states(["a photo of <rex>"]), context=run)
            words[scale] = run.activations["picture words"][0]
    noun = base.word_vectors("dog")
    assert torch.allclose(words[0.0], noun, atol=1e-6)
    assert (words[0.1] - noun).norm() > 1e-3
    assert torch.allclose(words[0.2] - noun, 2 * (words[0.1] - noun), atol=1e-5)


def test_domain_agnostic_blends_with_the_base_reading_the_nearest_real_word(base: Any, rex: Subject) -> None:
    """The recipe itself: at blend 0 its prediction is the base's with that word in the prompt."""
    recipe = methods()["domain_agnostic"](rex, blend=0.0)
    x, t = torch.randn(1, *base.latent_shape, generator=stream(0, "x")), torch.tensor([500])
    prompt = "a photo of <rex> in the snow"
    with torch.no_grad(), attach(base, [Adapter(recipe, rex.handle, shipped("domain_agnostic", base))]) as adapted:
        run = adapted.run(time=t, latents=x, prompts=(prompt,))
        found = base.predict(x, t, adapted.text_states([prompt]), context=run)
        word = nearest(run.activations["picture words"][0], real_words(base), 1)[0]
        states = base.text_states(["a photo of <it> in the snow"], words={"<it>": word})
        wanted = base.predict(x, t, states, context=Pass(time=t))
    assert torch.allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize("name", ["e4t", "domain_agnostic"])
def test_tuning_shows_every_row_all_pictures(base: Any, rex: Subject, name: str) -> None:
    shown = first_batch(base, methods()[name](rex).tuning[0].loss[0]).references
    assert shown is not None
    assert shown.pixels.shape[1] == len(rex.pictures)


def test_domain_agnostic_s_word_does_not_depend_on_a_class(base: Any, rex: Subject) -> None:
    x, t, words = torch.randn(1, *base.latent_shape, generator=stream(0, "x")), torch.tensor([500]), []
    for noun in ("dog", "teapot"):
        recipe = methods()["domain_agnostic"](Subject("<rex>", noun, rex.pictures))
        with torch.no_grad(), attach(base, [Adapter(recipe, "<rex>", shipped("domain_agnostic", base))]) as adapted:
            run = adapted.run(time=t, latents=x, prompts=("a photo of <rex>",))
            base.predict(x, t, adapted.text_states(["a photo of <rex>"]), context=run)
            words.append(run.activations["picture words"])
    assert torch.equal(*words)


def test_diptych_prompting_s_reference_is_on_plain_ground(base: Any, rex: Subject) -> None:
    with torch.no_grad(), attach(base, [Adapter(methods()["diptych_prompting"](rex), rex.handle)]) as adapted:
        latents = adapted.tensors["reference.latents"]
    pixels = on_plain(rex.tensor(base.picture_size), subject_masks(base, rex))
    assert torch.allclose(latents, base.encode(pixels)[0][:1], atol=1e-3)


def test_diptych_prompting_enhances_attention_to_the_left_by_the_authors_factor(rex: Subject) -> None:
    site: Any = Site("", "self", "mid", 0)
    x = torch.zeros(1, 1, 32, 8)
    for about, factor in (({}, 1.3), ({"enforce": 2.0}, 2.0)):
        (operation,) = methods()["diptych_prompting"](rex, **about).painting.operations
        call = AttentionCall(site, torch.nn.Identity(), x, x, x, x, x, Pass())
        (change,) = operation(call).on_maps
        assert float(change(torch.ones(1, 1, 32, 32)).max()) == pytest.approx(factor)


def test_bootpig_scales_keys_and_shows_its_references_on_plain_ground(base: Any, rex: Subject) -> None:
    x, t = torch.randn(1, *base.latent_shape, generator=stream(0, "x")), torch.tensor([500])
    outputs = []
    for about in ({}, {"key_scale": 1.1}, {"key_scale": 1.0}):
        recipe = methods()["bootpig"](rex, **about)
        with torch.no_grad(), attach(base, [Adapter(recipe, rex.handle, shipped("bootpig", base))]) as adapted:
            run = adapted.run(time=t, prompts=("a dog",))
            outputs.append(base.predict(x, t, adapted.text_states(["a dog"]), context=run))
            latents = adapted.tensors["reference_network.latents"]
    assert torch.equal(outputs[0], outputs[1])
    assert (outputs[0] - outputs[2]).norm() > 1e-4 * outputs[0].norm()
    pixels = on_plain(rex.tensor(base.picture_size), subject_masks(base, rex))
    assert torch.allclose(latents, base.encode(pixels)[0], atol=1e-3)


def test_moma_and_bootpig_learn_from_references_on_plain_ground(base: Any) -> None:
    for name, stage in (("moma", 1), ("bootpig", 0)):
        shown = first_batch(base, methods()[name](NOBODY, batch=4).stages[stage].loss[0]).references
        assert shown is not None
        corners = shown.pixels[:, 0, :, :4, :4].flatten(1)
        assert int((corners.std(1) < 0.02).sum()) >= 3  # a subject may reach into a corner


def test_stylealigned_gives_queries_and_keys_the_reference_s_statistics(base: Any, rex: Subject) -> None:
    """The recipe's own operation: after it, queries have the first row's mean and deviation, unless that is off."""
    site: Any = next(site for site in base.sites if site.kind == "self")
    hidden = torch.zeros(2, 50, 8)
    for on in (True, False):
        (operation,) = methods()["stylealigned"](rex, normalise=on).painting.operations
        query = torch.randn(2, 2, 50, 4, generator=stream(0, "query")) * torch.tensor([1.0, 3.0])[:, None, None, None]
        call = AttentionCall(
            site, torch.nn.Identity(), hidden, hidden, query, query, query, Pass(reference_stream=True)
        )
        spread = operation(call).query.std(2)
        assert torch.allclose(spread[1], spread[0], rtol=1e-3) == on


def test_suti_looks_at_as_many_demonstrations_as_it_is_told(
    base: Any, rex: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The denoiser itself runs over them, clean."""
    recipe, seen = methods()["suti"](rex, demonstrations=2), spied(base, monkeypatch)
    t = torch.tensor([500])
    with torch.no_grad(), attach(base, [Adapter(recipe, rex.handle, shipped("suti", base))]) as adapted:
        run = adapted.run(time=t, prompts=("a dog",))
        base.predict(torch.zeros(1, *base.latent_shape), t, adapted.text_states(["a dog"]), context=run)
    assert [len(noised) for noised, time, *_ in seen if not time.any()] == [2]


def test_custom_diffusion_starts_its_word_from_a_rare_token(base: Any, rex: Subject) -> None:
    recipe = methods()["custom_diffusion"](rex)
    assert recipe.says == "<rex> dog"
    with attach(base, [Adapter(recipe, rex.handle)]) as adapted:
        start = adapted.tensors["word.<rex>"].detach()
    rare = torch.cat([base.word_vectors(word) for word in base.rare_words])
    assert (rare - start).abs().amax(1).min() < 1e-6
    assert (base.word_vectors("dog") - start).abs().max() > 1e-2
