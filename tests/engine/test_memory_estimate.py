"""The planner's counts are what autograd keeps, and its choices fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image

import limner
from limner.apps.cli.main import main
from limner.bases.common.loading import load, sketch
from limner.core.subject import Subject
from limner.core.types import Pass
from limner.engine.attach import Adapter, attach
from limner.engine.memory_estimate import Choice, Shape, estimate, fitting, measured
from limner.errors import InputError
from limner.methods import methods
from tests.bases.families import BUILDERS, save_tiny
from tests.helpers import untouched

RECIPE = methods()["lora_dreambooth"](Subject("<rex>", "dog"))


@pytest.fixture(scope="module", params=list(BUILDERS))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(request.param, tmp_path_factory.mktemp("planned") / request.param)


def test_a_sketch_has_the_shape_of_the_base(folder: Path) -> None:
    """Laid out without values, a family counts what it counts with them, and its states have the rows that are told."""
    drawn, real = sketch(folder), load(folder, device="cpu")
    assert all(p.is_meta for part in drawn.parts for p in drawn.module(part).parameters())
    counted, loaded = (measured(b, RECIPE, batch=2) for b in (drawn, real))
    assert counted.weights == loaded.weights
    assert counted.learned == loaded.learned
    assert counted.activations == pytest.approx(loaded.activations, rel=0.05)
    assert counted.decoding == pytest.approx(loaded.decoding, rel=0.3)
    if folder.name != "amused":  # diffusers' network cannot
        assert counted.kept_checkpointed < counted.activations
    if folder.name != "kandinsky":
        assert tuple(real.text_states(["a dog"], words={}).shape[1:]) == real.states_shape
    assert untouched(real)


def test_what_is_counted_is_what_autograd_keeps(tmp_path: Path) -> None:
    base = load(save_tiny("sdxl", tmp_path / "sdxl"), device="cpu")
    weights = {p.untyped_storage().data_ptr() for part in base.parts for p in base.module(part).parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in weights and tensor.is_floating_point():
            kept[place] = tensor.untyped_storage().nbytes() // 4
        return tensor

    with attach(base, (Adapter(RECIPE, "<rex>"),)) as adapted:
        for stage in RECIPE.tuning:
            for selection in stage.train:
                for tensor in selection(adapted).values():
                    tensor.requires_grad_(True)
        states = base.text_states(["a dog"] * 2, words={})
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            out = base.predict(torch.randn(2, *base.latent_shape), torch.tensor([9, 8]), states, context=Pass())
        assert out.requires_grad
    assert measured(base, RECIPE, batch=2).activations == pytest.approx(sum(kept.values()), rel=0.02)


def test_every_saving_saves(folder: Path) -> None:
    shape = measured(sketch(folder), RECIPE)
    start = Choice()
    half, whole = (estimate(shape, replace(start, dtype=dtype)).parts for dtype in ("bfloat16", "float32"))
    for part in ("weights", "activations", "decoding"):
        assert half[part] == whole[part] / 2
    assert half["learning"] > whole["learning"]  # trained tensors stay in single precision
    for name in ("offload", "checkpointing"):
        assert (
            estimate(shape, replace(start, **cast("dict[str, Any]", {name: True}))).teaching
            <= estimate(shape, start).teaching
        )
    assert estimate(shape, replace(start, tiling=True)).painting <= estimate(shape, start).painting


def test_the_first_settings_that_fit_are_taken_and_none_is_refused(tmp_path: Path) -> None:
    shape = measured(sketch(save_tiny("flux", tmp_path / "flux")), RECIPE)
    most, half = estimate(shape, Choice()).peak, estimate(shape, Choice("bfloat16")).peak
    assert fitting(shape, most, start=Choice()).choice == Choice()
    assert fitting(shape, half, start=Choice()).choice == Choice("bfloat16")
    assert fitting(shape, half - 1000, start=Choice()).choice.offload
    least = replace(Choice(), offload=True, tiling=True, checkpointing=True)
    emulated = fitting(shape, most - 1000, start=Choice(), half_last=True).choice
    assert emulated.dtype == "float32"
    assert emulated.offload
    assert fitting(shape, estimate(shape, least).peak - 1000, start=Choice(), half_last=True).choice == replace(
        least, dtype="bfloat16"
    )
    with pytest.raises(InputError, match="does not fit into 0.0 GB: the least is .* smaller base"):
        fitting(shape, 1000.0, start=Choice())


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for k, picture in enumerate(np.random.default_rng(0).integers(0, 255, (2, 24, 24, 3), dtype=np.uint8)):
        Image.fromarray(picture).save(folder / f"{k}.png")
    return folder


def test_learn_states_the_peak_and_chooses(tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = save_tiny("sdxl", tmp_path / "sdxl")
    told = [
        "learn",
        str(photos),
        "--class",
        "dog",
        "--name",
        "rex",
        "--base",
        str(folder),
        "--method",
        "lora_dreambooth",
    ]
    told += ["--steps", "1", "--rank", "1", "--batch", "1", "--prior-weight", "0", "--preview", "0", "--no-check"]
    assert main([*told, "--out", str(tmp_path / "a")]) == 0
    assert "GB at the peak" in capsys.readouterr().err
    recipe = methods()["lora_dreambooth"](Subject("<rex>", "dog"), rank=1)
    shape = measured(sketch(folder), recipe, fused=False)
    needed = estimate(shape, Choice("bfloat16")).peak / 1e9
    assert needed < estimate(shape, Choice()).peak / 1e9
    assert main([*told, "--out", str(tmp_path / "b"), "--fit", f"{needed:.9f}"]) == 0
    assert "--dtype bfloat16" in capsys.readouterr().err
    assert main([*told, "--out", str(tmp_path / "c"), "--fit", "0.00001"]) == 1
    assert "does not fit" in capsys.readouterr().err
    assert not (tmp_path / "c" / "rex.safetensors").exists()


@pytest.mark.parametrize("family", ["sdxl", "flux"])
def test_savings_do_not_change_what_is_learned_or_painted(tmp_path: Path, photos: Path, family: str) -> None:
    """Offloading, tiles (of pictures smaller than one) and checkpointing give the same bits, or near them."""
    folder = save_tiny(family, tmp_path / family)
    plain, saving = (
        load(folder, device="cpu"),
        load(folder, device="cpu", offload=True, tiling=True, checkpointing=True),
    )
    rex = Subject.of(photos, noun="dog", handle="rex")
    about: dict[str, Any] = {"method": "lora_dreambooth", "steps": 3, "rank": 2, "prior_weight": 0.0, "batch": 2}
    first, second = (limner.learn(base, rex, **about) for base in (plain, saving))
    assert first.losses == pytest.approx(second.losses, rel=1e-5)
    for name, tensor in first.tensors.items():
        assert torch.allclose(tensor, second.tensors[name], atol=1e-3)
    how = limner.PaintSettings(steps=2)
    shown = [limner.paint(base, "a red dog", settings=how)[0].image.tobytes() for base in (plain, saving)]
    assert shown[0] == shown[1]


def test_a_base_in_bfloat16_is_the_same_base(folder: Path) -> None:
    """Its values are rounded, so the fingerprint is that of its files; a concept goes from one precision to the
    other."""
    assert load(folder, device="cpu", dtype="bfloat16").fingerprint == load(folder, device="cpu").fingerprint


def test_parts_have_their_own_data_types(tmp_path: Path) -> None:
    folder = save_tiny("sdxl", tmp_path / "sdxl")
    base: Any = load(folder, device="cpu", dtype="bfloat16", dtypes={"autoencoder": "float32"})
    assert (base.dtype, base.autoencoder.dtype) == (torch.bfloat16, torch.float32)
    assert limner.paint(base, "a red dog", settings=limner.PaintSettings(steps=2))
    with pytest.raises(InputError, match="data type must be one of"):
        load(folder, device="cpu", dtypes={"autoencoder": "float8"})


def test_a_quantised_base_learns_and_is_the_same_base(tmp_path: Path, photos: Path) -> None:
    pytest.importorskip("torchao")
    folder = save_tiny("flux", tmp_path / "flux")
    small, whole = load(folder, device="cpu", quantise="int8"), load(folder, device="cpu")
    assert small.fingerprint == whole.fingerprint
    rex = Subject.of(photos, noun="dog", handle="rex")
    about: dict[str, Any] = {"steps": 2, "rank": 2, "prior_weight": 0.0, "batch": 1}
    concept = limner.learn(small, rex, method="lora_dreambooth", **about)
    assert limner.paint(whole, "<rex>", concepts=[concept], settings=limner.PaintSettings(steps=2))


def test_quantising_without_the_extra_says_how_to_get_it(tmp_path: Path) -> None:
    try:
        import torchao
    except ImportError:
        with pytest.raises(InputError, match=r"limner\[torchao\]"):
            load(save_tiny("sdxl", tmp_path / "sdxl"), device="cpu", quantise="int8")
    else:
        assert torchao
    with pytest.raises(InputError, match="quantise must be"):
        load(device="cpu", quantise="int3")


SD15 = Shape(
    weights={"denoiser": 859_520_964, "autoencoder": 83_653_863, "text_encoder": 123_060_480},
    learned=4_232_864,
    activations=168_138_336,
    kept_checkpointed=40_000_000,
    decoding=50_339_840,
    decoding_tiled=12_584_960,
    stored={"denoiser": 3_438_083_856, "autoencoder": 334_615_452, "text_encoder": 492_241_920},
)
"""Stable Diffusion 1.5 at 256 pixels, batch 1, low rank 4, as it is counted on a processor."""


@pytest.mark.parametrize(
    ("dtype", "taught", "painted", "loaded"), [("float32", 5.79, 5.54, 0.0), ("bfloat16", 3.13, 3.11, 4.18)]
)
def test_the_plan_is_what_was_measured(dtype: str, taught: float, painted: float, loaded: float) -> None:
    """Against gigabytes of anonymous memory measured on a processor; of loading, of all memory. At least them, and at
    most a tenth more."""
    found = estimate(SD15, Choice(dtype))
    for plan, seen in ((found.teaching, taught), (found.painting, painted), (found.loading, loaded)):
        if seen:
            assert seen <= plan / 1e9 <= 1.1 * seen


def test_half_precision_saves_nothing_where_all_weights_learn() -> None:
    """Trained tensors are kept in single precision beside the rounded weights, so bfloat16 does not make them smaller,
    and the plan does not choose it for that."""
    everything = replace(SD15, learned=SD15.weights["denoiser"])
    whole, half = (estimate(everything, Choice(dtype)) for dtype in ("float32", "bfloat16"))
    assert half.parts["learning"] >= 16 * everything.learned
    assert half.teaching > whole.teaching - 4 * sum(SD15.weights.values())


def test_an_exception_while_counting_leaves_nothing_learning(monkeypatch: pytest.MonkeyPatch) -> None:
    base = load("pocket", device="cpu")
    monkeypatch.setattr(base, "predict", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        measured(base, methods()["dreambooth"](Subject("<rex>", "dog")))
    assert untouched(base)
