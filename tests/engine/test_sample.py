"""One sampling loop: seeded picture by picture, loud about prompts it cannot paint."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import limner
from limner.core.recipe import Painting, Recipe
from limner.core.subject import Subject
from limner.engine.attach import Adapter, attach
from limner.engine.sample import Canvas, inverted, sample
from limner.engine.steps import PaintStep
from limner.errors import InputError, PaintingError, PromptError
from limner.methods import methods
from limner.pocket.subjects import toy
from limner.workflows.paint_many import Order, paint_many
from tests.helpers import fast, same, state

QUICK = limner.PaintSettings(steps=3)


def test_the_same_seed_paints_the_same_picture_whatever_the_batch(base: Any) -> None:
    many = limner.paint(base, ["a dog", "a red car"], count=3, seed=7, settings=QUICK)
    one = limner.paint(base, "a red car", count=1, seed=8, settings=QUICK)
    assert (many[4].prompt, many[4].seed) == ("a red car", 8)
    difference = np.asarray(many[4].image, dtype=int) - np.asarray(one[0].image, dtype=int)
    assert np.abs(difference).max() <= 1
    again = limner.paint(base, ["a dog", "a red car"], count=3, seed=7, settings=QUICK)
    assert [p.image.tobytes() for p in again] == [p.image.tobytes() for p in many]


@pytest.mark.parametrize("sampler", ["ddim", "dpm", "euler"])
def test_the_clean_latents_of_a_step_come_nearer_and_end_as_the_pictures(base: Any, sampler: str) -> None:
    settings = limner.PaintSettings(steps=6, sampler=sampler)
    with torch.no_grad(), attach(base, []) as adapted:
        steps = list(sample(adapted, ["a dog", "a red car"], seeds=[1, 2], settings=settings))
        far = [float((at.clean() - steps[-1].latents).abs().mean()) for at in steps]
    assert far[0] > far[2] > far[4]
    assert far[-1] < 0.1 * far[0]  # the last time of the schedule has a little noise
    assert float((steps[0].latents - steps[-1].latents).abs().mean()) > 2 * far[0]


def test_sampling_can_be_dropped_half_way(base: Any, rex: Subject) -> None:
    from limner.methods import find

    before = state(base)
    adapter = Adapter(find("lora_dreambooth")(rex), rex.handle)
    with torch.no_grad(), attach(base, [adapter]) as adapted:
        steps: Any = sample(adapted, ["<rex>"], seeds=[0], settings=QUICK)
        first = next(steps)
        assert (first.step, first.total) == (0, 3)
        steps.close()
    assert same(state(base), before)


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("<rex> on the beach", "nothing answers to <rex>"),
        ("a very " * 40 + "long dog", "tokens"),
    ],
)
def test_prompts_that_cannot_be_painted(base: Any, prompt: str, said: str) -> None:
    with pytest.raises(PromptError, match=said):
        limner.paint(base, prompt, settings=QUICK)


@pytest.mark.parametrize(
    "bad",
    [{"steps": 0}, {"steps": 10**5}, {"guidance": -1}, {"guidance": float("inf")}, {"batch": 0}]
    + [
        {"guide_between": between, "steps": 25}
        for between in ((0.5, 0.5), (0.8, 0.1), (-0.1, 1.0), (0.0, 1.1), (0.11, 0.13))
    ]
    + [{"subject_from": share} for share in (-0.1, 1.0)],
)
def test_senseless_settings(bad: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="must"):
        limner.PaintSettings(**bad)


def test_an_unknown_sampler_suggests(base: Any) -> None:
    with pytest.raises(InputError, match="ddim"):
        limner.paint(base, "a dog", settings=limner.PaintSettings(steps=1, sampler="ddmi"))
    with pytest.raises(InputError, match="count"):
        limner.paint(base, "a dog", count=0)


def test_guidance_of_one_never_runs_the_negative_branch(base: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    real = base.predict
    monkeypatch.setattr(base, "predict", lambda x, *a, **k: (rows.append(len(x)), real(x, *a, **k))[1])
    limner.paint(base, "a dog", settings=limner.PaintSettings(steps=2, guidance=1.0))
    assert rows == [1, 1]
    limner.paint(base, "a dog", settings=limner.PaintSettings(steps=2, guidance=3.0))
    assert rows[2:] == [2, 2]


def test_pictures_know_their_story_and_show_themselves(base: Any, tmp_path: Path) -> None:
    from PIL import Image

    pictures = limner.paint(base, "a dog", count=2, seed=3, settings=QUICK)
    paths = pictures.save(tmp_path)
    assert [p.name for p in pictures.save(tmp_path)] == ["002.png", "003.png"]
    assert [p.name for p in pictures.save(tmp_path, overwrite=True)] == ["000.png", "001.png"]
    with Image.open(paths[1]) as image:
        story = json.loads(image.info["limner"])
    assert (story["prompt"], story["seed"], story["base"]) == ("a dog", 4, "pocket")
    assert pictures[0]._repr_png_().startswith(b"\x89PNG")
    assert pictures._repr_html_().count("<img") == 2
    assert pictures.grid(2, height=64).size == (132, 64)


def test_inversion_leads_back_to_the_picture(base: Any, rex: Subject) -> None:
    """Sampling from the noisiest latents of the inverted way, without guidance, comes back near the picture."""
    with torch.no_grad():
        latents = base.encode(rex.tensor(base.picture_size)[:1])[0]
        way = inverted(base, latents, "a dog", 50)
        scheduler = base.scheduler("ddim", steps=50)
        states = base.text_states(["a dog"], words={})
        from limner.core.types import Pass

        x = way[10][None]
        for time in scheduler.timesteps[10:]:
            out = base.predict(x, time.expand(1), states, context=Pass(time=time.expand(1)))
            x = scheduler.step(out, time, x).prev_sample
    assert (x - latents).square().mean() < 0.25 * latents.square().mean()


def rows_run(base: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of every run of the denoiser from now on."""
    rows: list[int] = []
    real = base.predict
    monkeypatch.setattr(base, "predict", lambda x, *a, **k: (rows.append(len(x)), real(x, *a, **k))[1])
    return rows


def test_outside_of_its_interval_guidance_costs_nothing(base: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_run(base, monkeypatch)
    how = limner.PaintSettings(steps=5, guide_between=(0.2, 0.8))
    (picture,) = limner.paint(base, "a dog", settings=how)
    assert rows == [1, 2, 2, 2, 1]
    assert picture.settings["guide_between"] == [0.2, 0.8]
    assert (
        picture.image.tobytes() != limner.paint(base, "a dog", settings=replace(how, guidance=1.0))[0].image.tobytes()
    )


@pytest.mark.parametrize("name", ["ip_adapter", "lora_dreambooth", "textual_inversion", "dreambooth"])
def test_before_its_steps_a_subject_is_its_noun_on_the_untouched_base(base: Any, name: str) -> None:
    """Step by step: what the base paints of the noun, until concepts are put on; from there on, something else."""
    about: dict[str, Any] = {} if name == "ip_adapter" else {"steps": 2, "lr": 0.05, "prior_weight": 0.0}
    about = {key: value for key, value in about.items() if key != "prior_weight" or "dreambooth" in name}
    concept = limner.learn(base, toy("dog", 1_000_040), method=name, **about)
    worn_late = _watched(base, "a photo of <rex> in the snow", [concept], subject_from=0.5)
    bare, adapted = (
        _watched(base, f"a photo of {who} in the snow", w) for who, w in (("dog", []), ("<rex>", [concept]))
    )
    near = [torch.allclose(one, other, atol=1e-4) for one, other in zip(bare, worn_late, strict=True)]
    assert near == [True, True, False, False]
    assert not any(torch.allclose(one, other, atol=1e-3) for one, other in zip(adapted, worn_late, strict=True))
    (picture,) = limner.paint(base, "<rex>", concepts=[concept], settings=replace(QUICK, subject_from=0.5))
    assert picture.settings["subject_from"] == 0.5


def _watched(base: Any, prompt: str, concepts: list[Any], **how: Any) -> list[Tensor]:
    """The latents after each of four steps."""
    steps: list[PaintStep] = []
    limner.paint(base, prompt, concepts=concepts, settings=limner.PaintSettings(steps=4, **how), watch=steps.append)
    return [at.latents for at in steps]


def test_every_concept_has_a_scale_of_its_own(base: Any) -> None:
    one, other = (
        limner.learn(base, toy(kind, seed, name=name), method="ip_adapter")
        for kind, seed, name in (("dog", 1_000_040, "rex"), ("car", 1_000_041, "bolt"))
    )
    prompt = "a photo of <rex> and <bolt>"
    both, first, second = (
        np.asarray(limner.paint(base, prompt, concepts=[one, other], scale=scale, settings=QUICK)[0].image).astype(int)
        for scale in (1.0, (1.0, 0.0), (0.0, 1.0))
    )
    alone = limner.paint(base, "a photo of <rex> and car", concepts=[one], settings=QUICK)[0].image
    assert abs(first - np.asarray(alone)).max() <= 1
    assert min(abs(both - first).mean(), abs(both - second).mean(), abs(first - second).mean()) > 1
    with pytest.raises(InputError, match="2 scales for 1 concepts"):
        limner.paint(base, "<rex>", concepts=[one], scale=(1.0, 0.5))


def test_an_interval_of_all_steps_is_no_interval_and_of_the_others_is_no_guidance(base: Any) -> None:
    """Step by step: until the interval begins, to the bit what is painted without guidance; with (0, 1), what is
    painted with."""
    plain, guided, late, whole = (
        [at.latents for at in _steps(base, **how)]
        for how in ({"guidance": 1.0}, {}, {"guide_between": (0.5, 1.0)}, {"guide_between": (0.0, 1.0)})
    )
    assert all(torch.equal(a, b) for a, b in zip(guided, whole, strict=True))
    assert [torch.equal(a, b) for a, b in zip(plain, late, strict=True)] == [True, True, False, False]
    assert "guide_between" not in limner.PaintSettings(guide_between=(0, 1)).metadata


def _steps(base: Any, **how: Any) -> list[PaintStep]:
    with torch.no_grad(), attach(base, []) as adapted:
        return list(sample(adapted, ["a dog"], seeds=[0], settings=limner.PaintSettings(steps=4, **how)))


def test_guidance_that_keeps_lengths_has_an_interval_too(base: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "guidance", "norm_preserving", raising=False)
    guided, late = (_steps(base, guide_between=each) for each in ((0.0, 1.0), (0.5, 1.0)))
    assert not torch.equal(guided[0].latents, late[0].latents)
    rows = rows_run(base, monkeypatch)
    _steps(base, guide_between=(0.5, 1.0))
    assert rows == [1, 1, 2, 2]


def test_an_interval_where_none_is_possible_is_said(base: Any, rex: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe that guides by itself is painted as without one; a base that runs one pass has nothing to leave out."""
    concept = limner.learn(base, rex, method="pair_customization", **fast(methods()["pair_customization"]))
    some = limner.PaintSettings(steps=2, guide_between=(0.5, 1.0))
    with pytest.warns(UserWarning, match=r"<rex> is guided by its own recipe"):
        limited = limner.paint(base, "<rex>", concepts=[concept], settings=some)[0]
    whole = limner.paint(base, "<rex>", concepts=[concept], settings=limner.PaintSettings(steps=2))[0]
    assert limited.image.tobytes() == whole.image.tobytes()
    monkeypatch.setattr(base, "guidance", "embedded", raising=False)
    with pytest.raises(InputError, match="runs one pass"):
        limner.paint(base, "a dog", settings=some)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpm", "euler"])
def test_a_samplers_numbers_stay_with_the_processor(base: Any, sampler: str) -> None:
    """Indexed by a time on another device, each step would wait for it."""
    scheduler = base.scheduler(sampler, steps=3)
    tables = [scheduler.timesteps, scheduler.alphas_cumprod]
    assert {table.device.type for table in tables} == {"cpu"}


def test_states_of_a_batch_are_put_together_once(base: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hidden states that no step changes are one tensor for all steps, the negative prompt's included."""
    seen: list[Any] = []
    real = base.predict
    monkeypatch.setattr(base, "predict", lambda x, t, s, **k: (seen.append(s), real(x, t, s, **k))[1])
    limner.paint(base, ["a dog", "a red car"], settings=limner.PaintSettings(steps=3))
    assert [states is seen[0] for states in seen] == [True] * 3
    assert torch.equal(seen[0][0], seen[0][1])


def test_batches_of_many_concepts_have_an_interval_too(base: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    how = limner.PaintSettings(steps=4, guide_between=(0.25, 0.75))
    rows = rows_run(base, monkeypatch)
    many = limner.paint_many(base, [limner.Order("a dog"), limner.Order("a red car", seed=1)], settings=how)
    assert rows == [2, 4, 4, 2]
    single = limner.paint(base, "a red car", seed=1, settings=how)[0]
    assert np.abs(np.asarray(many[1].image, dtype=int) - np.asarray(single.image, dtype=int)).max() <= 1
    assert many[1].settings == single.settings


def test_eulers_latents_are_converted_at_the_seam(base: Any) -> None:
    """Against the sampler's own scaling, at every step: what it hands to the network is what the base calls noised
    latents."""
    x, noise = (torch.randn(1, *base.latent_shape, generator=torch.Generator().manual_seed(k)) for k in (0, 1))
    scheduler = base.scheduler("euler", steps=5)
    for step, time in enumerate(scheduler.timesteps):
        sigma = float(scheduler.sigmas[step])
        own = x + sigma * noise  # as Euler has them
        wanted = scheduler.scale_model_input(own, time)
        assert torch.allclose(own / base.spread(scheduler, step), wanted, atol=1e-4)
        scheduler._step_index += 1
    assert base.spread(scheduler, 5) == 1.0
    assert base.spread(base.scheduler("ddim", steps=5), 0) == 1.0


@pytest.mark.parametrize("sampler", ["ddim", "euler"])
def test_what_a_canvas_keeps_is_kept_by_every_sampler(base: Any, rex: Subject, sampler: str) -> None:
    picture = rex.pictures[0].image
    assert picture is not None
    keep, part = Image.new("L", picture.size, 0), picture.width // 4
    keep.paste(255, (0, 0, part, part))
    canvas = Canvas(picture, keep, start=0.0, until=1.0)
    how = limner.PaintSettings(steps=10, sampler=sampler)
    found = limner.paint(base, "a red car", settings=how, canvas=canvas)[0].image
    side = base.picture_size
    wanted = np.asarray(picture.resize((side, side)), dtype=int)
    assert np.abs(np.asarray(found, dtype=int) - wanted)[side // 2 :].mean() < 15


@pytest.mark.parametrize("sampler", ["ddim", "euler"])
def test_operations_between_steps_see_the_bases_own_latents(base: Any, sampler: str) -> None:
    """And those who watch: of unit variance where all is noise."""
    seen: list[float] = []

    def look(moment: Any) -> Tensor:
        seen.append(float(moment.latents.std()))
        return moment.latents

    adapter = Adapter(Recipe("dog", painting=Painting(latents=(look,))), "<rex>")
    how = limner.PaintSettings(steps=6, sampler=sampler)
    with torch.no_grad(), attach(base, [adapter]) as adapted:
        shown = [float(step.latents.std()) for step in sample(adapted, ["a dog"] * 4, seeds=range(4), settings=how)]
    assert seen[0] == pytest.approx(1, abs=0.1)
    assert max(shown + seen) < 2
    assert shown[:-1] == pytest.approx(seen[1:], rel=1e-4)


def test_inversion_has_the_noise_that_is_due_at_every_step(base: Any, rex: Subject) -> None:
    """The cleanest row is the clean latents and the noise predicted of them, not the clean latents made smaller."""
    with torch.no_grad():
        latents, _ = base.encode(rex.tensor(base.picture_size)[:1])
    way = inverted(base, latents, "a photo of a dog", 10)
    times = base.scheduler(steps=10).timesteps
    signal = base.noised(torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1), times[-1:]).item()
    due = (1 - signal**2) ** 0.5
    added = float((way[-1] - signal * latents[0]).std())
    assert added == pytest.approx(due, rel=0.3)
    assert float(way[0].std()) == pytest.approx(1, abs=0.25)


def test_pictures_that_are_not_numbers_are_an_error(base: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = base.decode
    monkeypatch.setattr(base, "decode", lambda latents: decode(latents) * float("nan"))
    with pytest.raises(PaintingError, match="not finite numbers, once they are decoded"):
        limner.paint(base, "a dog", settings=QUICK)


def test_an_autoencoder_that_overflows_works_in_single_precision(tmp_path: Path) -> None:
    from tests.bases.families import save_tiny

    folder = save_tiny("sdxl", tmp_path / "sdxl")
    config = folder / "vae" / "config.json"
    for says, wanted in ((True, torch.float32), (False, torch.float16)):
        config.write_text(json.dumps({**json.loads(config.read_text()), "force_upcast": says}))
        small: Any = limner.load(folder, device="cpu", dtype="float16")
        assert (small.dtype, small.autoencoder.dtype) == (torch.float16, wanted)


def test_latents_have_as_many_channels_as_the_autoencoder_makes(tmp_path: Path) -> None:
    """A network for in-painting reads nine: it paints with all of the picture to be painted."""
    from diffusers import UNet2DConditionModel

    from tests.bases.families import save_tiny

    folder = save_tiny("stable_diffusion", tmp_path / "sd")
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    UNet2DConditionModel.from_config({**unet.config, "in_channels": 9}).save_pretrained(folder / "unet")
    wide = limner.load(folder, device="cpu")
    assert wide.latent_shape[0] == 4
    assert limner.paint(wide, "a dog", settings=QUICK)


def test_a_later_stage_enlarges_batches_of_many_concepts_too(base: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(base, "cascaded", True, raising=False)
    monkeypatch.setattr(base, "enlarged", lambda x, *_, **__: (seen.append(len(x)), x)[1])
    paint_many(base, [Order("a dog"), Order("a car", seed=1)], settings=QUICK)
    assert seen == [2]


def test_guidance_by_several_estimates_sees_the_latents_that_a_word_is_made_of(base: Any, rex: Subject) -> None:
    """SAG's own runs beside E4T, whose word depends on what is being denoised."""
    concepts = [limner.learn(base, rex, method="e4t", **fast(methods()["e4t"], tuning=0))]
    concepts.append(limner.learn(base, replace(rex, handle="<sag>"), method="sag"))
    how = limner.PaintSettings(steps=4)
    assert limner.paint(base, f"{rex.handle} on the beach", concepts=concepts, settings=how)
