"""The distinct properties of the methods that protect photographs, and the questions that all methods are asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from limner.bases.common.loading import load
from limner.core.artefact import Artefact
from limner.core.pixels import to_tensor
from limner.core.subject import Reference, Subject
from limner.core.types import Pass
from limner.engine.attach import attach
from limner.engine.checkpoint import finish
from limner.engine.early_stopping import fixed_loss
from limner.errors import InputError, UnknownName
from limner.methods import card, find, find_protection, methods, protections
from limner.parts.protection import texture
from limner.workflows.protect import image_of, prepared_protection, protect, protect_updates
from tests.bases.families import stable_diffusion
from tests.helpers import same, state, untouched

FAST: dict[str, dict[str, Any]] = {
    "photoguard": {"steps": 12},
    "mist": {"steps": 12},
    "anti_dreambooth": {"steps": 12, "surrogate_steps": 3, "num_class_pictures": 1, "batch": 1},
}
EVERY = pytest.mark.parametrize("name", list(protections()))


@pytest.fixture(scope="module")
def photos(rex: Subject) -> Subject:
    """Two photographs."""
    return Subject(rex.handle, rex.noun, rex.pictures[:2])


def shown(subject: Subject) -> list[Image.Image]:
    return [picture.image for picture in subject.pictures if picture.image is not None]


def images(copies: tuple[Artefact, ...]) -> list[Image.Image]:
    return [image_of(copy) for copy in copies]


def latents(base: Any, pictures: list[Image.Image]) -> torch.Tensor:
    with torch.no_grad():
        mean: torch.Tensor = base.encode(to_tensor(pictures, base.picture_size).to(base.dtype))[0]
    return mean


def denoising_error(base: Any, pictures: list[Image.Image]) -> float:
    with attach(base, []) as adapted:
        return fixed_loss(adapted, latents(base, pictures), "a photo of a dog", Pass)


# ------------------------------------------------------------------------------------------------------------ every one


def test_protections_are_found_and_are_no_methods_to_learn_by() -> None:
    assert set(protections()) == set(FAST)
    assert not set(protections()) & set(methods())
    assert all("defence" in card(function).scope for function in protections().values())
    with pytest.raises(InputError, match=r"limner protect PHOTOS --method mist"):
        find("mist")
    with pytest.raises(UnknownName, match="photoguard"):
        find_protection("fotoguard")


@EVERY
def test_the_base_comes_back_and_the_same_seed_gives_the_same_copies(
    base: Any, photos: Subject, name: str, tmp_path: Path
) -> None:
    before = state(base)
    whole = protect(base, photos, method=name, **FAST[name])
    assert same(state(base), before)
    assert untouched(base)
    run = prepared_protection(base, photos, name, FAST[name], 0)
    count = sum(stage.steps for stage in run.recipe.tuning)

    def updates(**more: Any) -> Any:
        return protect_updates(base, run, checkpoints=tmp_path, **more)

    stops = iter([False] * (count // 2) + [True])
    with pytest.raises(Exception, match="^$"):  # a pause has no message
        finish(updates(pause=lambda: next(stops)))
    assert finish(updates(resume=True)) == whole
    assert same(state(base), before)


@EVERY
@pytest.mark.parametrize("version", ["1.5"])
def test_it_works_on_a_base_of_another_shape(
    photos: Subject, name: str, version: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tiny = load(stable_diffusion(tmp_path_factory.mktemp("tiny"), version), device="cpu")
    copies = protect(tiny, photos, method=name, **FAST[name] | {"steps": 2})
    assert all(image_of(copy).size == photo.size for copy, photo in zip(copies, shown(photos), strict=True))
    assert images(copies)[0].tobytes() != shown(photos)[0].tobytes()


def test_settings_and_photographs_are_checked(base: Any, photos: Subject) -> None:
    with pytest.raises(UnknownName, match="setting of photoguard"):
        protect(base, photos, method="photoguard", rate=1.0)
    with pytest.raises(InputError, match="one of textural, semantic, fused, not 'vague'"):
        protect(base, photos, method="mist", mode="vague")
    with pytest.raises(InputError, match="epsilon must be at least 1 and at most 255"):
        protect(base, photos, method="mist", epsilon=0.0)
    with pytest.raises(InputError, match="no photographs to protect"):
        protect(base, Subject("<rex>", "dog"), method="mist")


# ------------------------------------------------------------------------------------------------------------ each one


@pytest.fixture
def silent_denoiser(base: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """The base, whose denoiser must not run."""

    def predict(*_: Any, **__: Any) -> Any:
        raise AssertionError("the denoiser ran")

    monkeypatch.setattr(type(base), "predict", predict)
    return base


def test_photoguard_draws_latents_to_zero_by_the_encoder_alone(silent_denoiser: Any, photos: Subject) -> None:
    copies = protect(silent_denoiser, photos, method="photoguard", **FAST["photoguard"])
    before, after = (float(latents(silent_denoiser, p).square().mean()) for p in (shown(photos), images(copies)))
    assert after < 0.85 * before


def test_textural_mist_nears_the_texture_by_the_encoder_alone(silent_denoiser: Any, photos: Subject) -> None:
    base = silent_denoiser
    copies = protect(base, photos, method="mist", mode="textural", **FAST["mist"])
    with torch.no_grad():
        goal = base.encode(texture(base.picture_size))[0]
    before, after = (float((latents(base, p) - goal).square().mean()) for p in (shown(photos), images(copies)))
    assert after < 0.9 * before
    with pytest.raises(AssertionError, match="the denoiser ran"):
        protect(base, photos, method="mist", mode="semantic", **FAST["mist"])


@pytest.mark.parametrize(("name", "more"), [("mist", {"mode": "semantic"}), ("anti_dreambooth", {})])
def test_the_denoising_error_grows(base: Any, photos: Subject, name: str, more: dict[str, Any]) -> None:
    copies = protect(base, photos, method=name, **FAST[name] | {"steps": 30} | more)
    assert denoising_error(base, images(copies)) > 1.1 * denoising_error(base, shown(photos))


def test_fused_mist_does_both(base: Any, photos: Subject) -> None:
    weights = [
        [(term.name, term.weight) for term in find_protection("mist")(photos, mode=mode).stages[0].loss]
        for mode in ("textural", "semantic", "fused")
    ]
    near, away = ("latents near(photo 0)", 1.0), "denoising(photo 0)"
    assert weights == [[near], [(away, -1.0)], [near, (away, -0.61)]]


def test_anti_dreambooth_attacks_a_surrogate_that_learned_the_photographs(base: Any, photos: Subject) -> None:
    """With another surrogate, the copies are others."""
    first, second = (
        protect(base, photos, method="anti_dreambooth", **FAST["anti_dreambooth"] | {"lr": lr}) for lr in (7e-4, 1e-7)
    )
    assert first != second
    stages = find_protection("anti_dreambooth")(photos, surrogate_steps=7).stages
    assert [stage.steps for stage in stages] == [7, 60, 60]
    assert stages[0].optimizer == "adamw"
    assert {stage.optimizer for stage in stages[1:]} == {"sign"}


def test_a_larger_photograph_keeps_its_protection_when_it_is_read(base: Any, photos: Subject) -> None:
    """The change is enlarged with the photograph, and survives being made smaller again."""
    large = replace(photos, pictures=tuple(replace(p, image=enlarged(p)) for p in photos.pictures))
    copies = protect(base, large, method="mist", mode="semantic", **FAST["mist"] | {"steps": 30})
    assert images(copies)[0].size == (512, 512)
    assert denoising_error(base, images(copies)) > 1.1 * denoising_error(base, shown(large))


def enlarged(picture: Reference) -> Image.Image:
    assert picture.image is not None
    return picture.image.resize((512, 512), Image.Resampling.LANCZOS)
