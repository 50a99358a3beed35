"""One seam for the pocket base and for anything of Stable Diffusion's shape: tiny random pipelines of both kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import limner
from limner.bases.common.loading import load
from limner.core.subject import Subject
from limner.errors import FileError, InputError
from limner.methods import methods
from tests.helpers import MEANINGS, fast, meaning, same, state, untouched

from .families import stable_diffusion

ADAPTERS = [
    name for name, make in methods().items() if make(Subject("<rex>", "dog")).weights
]  # trained for the very base
LOOKING = (
    "disenbooth",
    "disendreamer",
    "detex",
    "lu_prototypical",
    "coti",
    "instructbooth",
    "sag",
    "personamagic",
    "he_data_perspective",
    "unictokens",
    "mc_ti",
    "gal",
    "finestyle",
    "styledrop",
    "style_friendly_snr",
)  # look at pictures through a CLIP beside the base
RECOGNISING = ("celeb_basis",)  # through networks of faces
MASKED = ("persam", "break_a_scene", "perfusion", "infusion", "hifi_tuner", "clic", "magicapture")
FINDING = ("magicapture", "swapanything")  # find their subject in pictures that the base paints, which have no masks
POSED = ("viewpoint_control",)  # reads the cameras of pictures


@pytest.fixture(scope="module", params=["1.5", pytest.param("2.1", marks=pytest.mark.sweep)])
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load(stable_diffusion(tmp_path_factory.mktemp("tiny"), request.param), device="cpu")


@pytest.fixture(scope="module")
def masked(rex: Subject) -> Subject:
    """The toy with a mask for each picture, as a user would give them: the middle of the picture."""
    from PIL import Image

    shown = [p.image for p in rex.pictures if p.image is not None]
    masks = [Image.new("L", image.size) for image in shown]
    for mask in masks:
        left, top, right, bottom = (edge * side // 4 for edge, side in zip((1, 1, 3, 3), mask.size * 2, strict=True))
        mask.paste(255, (left, top, right, bottom))
    return Subject.of(shown, noun="dog", handle="rex", masks=masks)


@pytest.mark.parametrize(
    "name", [name for name in methods() if name not in (*ADAPTERS, *LOOKING, *RECOGNISING, *FINDING, *POSED)]
)
def test_every_method_runs_on_it(tiny: Any, masked: Subject, name: str) -> None:
    before = state(tiny)
    subject = meaning(name) if name in MEANINGS else masked
    concept = limner.learn(tiny, subject, method=name, **fast(methods()[name], rank=2))
    pictures = limner.paint(
        tiny, "<rex> on the beach", concepts=[concept], count=2, settings=limner.PaintSettings(steps=2)
    )
    assert [p.image.size for p in pictures] == [(16, 16)] * 2
    assert same(state(tiny), before)
    assert untouched(tiny)


def test_dreamtuner_runs_on_it_without_weights_of_its_own(tiny: Any, masked: Subject) -> None:
    concept = limner.learn(tiny, masked, method="dreamtuner", encoder=False, **fast(methods()["dreamtuner"]))
    limner.paint(tiny, "<rex> on the beach", concepts=[concept], settings=limner.PaintSettings(steps=2))
    assert untouched(tiny)


def test_targets_and_their_inverses_agree(tiny: Any) -> None:
    latents, noise = torch.randn(3, 4, 8, 8), torch.randn(3, 4, 8, 8)
    time = torch.tensor([10, 400, 900])
    noised, target = tiny.noised(latents, noise, time), tiny.target(latents, noise, time)
    assert torch.allclose(tiny.x0(noised, target, time), latents, atol=1e-3)
    assert torch.allclose(tiny.noise_of(noised, target, time), noise, atol=1e-3)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpm"])
def test_every_sampler_paints(tiny: Any, sampler: str) -> None:
    how = limner.PaintSettings(steps=3, sampler=sampler)
    first, second = (limner.paint(tiny, "a dog", seed=2, settings=how)[0] for _ in range(2))
    assert first.image.tobytes() == second.image.tobytes()


def test_it_paints_what_diffusers_paints(tmp_path: Path) -> None:
    """The same weights, latents and sampler through diffusers' own pipeline give the same picture."""
    import numpy as np
    from diffusers import StableDiffusionPipeline

    folder = stable_diffusion(tmp_path / "sd", "1.5")
    base = load(folder, device="cpu")
    ours = limner.paint(base, "a red dog on the beach", seed=4, settings=limner.PaintSettings(steps=4, guidance=5.0))[0]
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    from limner.core.streams import stream

    latents = torch.randn(base.latent_shape, generator=stream(4, "latents"))[None]
    theirs = pipeline(
        "a red dog on the beach", num_inference_steps=4, guidance_scale=5.0, latents=latents, height=16, width=16
    ).images[0]
    assert np.abs(np.asarray(ours.image, dtype=int) - np.asarray(theirs, dtype=int)).max() <= 1


def test_a_concept_of_another_base_is_refused_with_both_fingerprints(base: Any, tiny: Any, rex: Subject) -> None:
    from limner.errors import WrongBase

    concept = limner.learn(tiny, rex, method="textual_inversion", steps=1)
    with pytest.raises(WrongBase, match=f"{tiny.fingerprint}.*{base.fingerprint}"):
        limner.paint(base, "<rex>", concepts=[concept])


def test_the_fingerprint_survives_half_precision_and_sees_a_changed_weight(tmp_path: Path) -> None:
    folder = stable_diffusion(tmp_path / "sd", "1.5")
    first, half = load(folder, device="cpu"), load(folder, device="cpu", dtype="float16")
    assert first.fingerprint == half.fingerprint
    other: Any = load(folder, device="cpu")
    with torch.no_grad():
        other.denoiser.conv_in.weight.mul_(1.5)
    assert other.fingerprint != first.fingerprint


def test_a_folder_that_is_no_base_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"model_index\.json"):
        load(tmp_path)
    (tmp_path / "model_index.json").write_text('{"_class_name": "KandinskyPipeline"}')
    with pytest.raises(InputError, match="KandinskyPipeline.*does not support"):
        load(tmp_path)


def test_a_hub_id_that_cannot_be_reached_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FileError, match="there is no base 'nobody/nothing'"):
        load("nobody/nothing")


def test_unknown_selections_say_what_there_is(tiny: Any) -> None:
    from limner.errors import UnknownName

    with pytest.raises(UnknownName, match="cross_attention_kv"):
        tiny.select("cross_attention_kw")
    with pytest.raises(UnknownName, match="attention"):
        tiny.projections("attentoin")


@pytest.mark.parametrize("name", LOOKING)
def test_what_looks_through_a_clip_says_that_it_needs_one(tiny: Any, masked: Subject, name: str) -> None:
    before = state(tiny)
    with pytest.raises(InputError, match="image_encoder"):
        limner.learn(tiny, masked, method=name, **fast(methods()[name]))
    assert same(state(tiny), before)
    assert untouched(tiny)


@pytest.mark.parametrize("name", RECOGNISING)
def test_what_recognises_faces_says_what_to_give(tiny: Any, masked: Subject, name: str) -> None:
    with pytest.raises(InputError, match="faces=FOLDER"):
        limner.learn(tiny, masked, method=name, **fast(methods()[name]))
    assert untouched(tiny)


@pytest.mark.parametrize("name", MASKED)
def test_what_needs_masks_says_how_to_give_them(tiny: Any, rex: Subject, name: str) -> None:
    with pytest.raises(InputError, match="mask beside every picture"):
        limner.learn(tiny, rex, method=name, **fast(methods()[name]))
    assert untouched(tiny)
