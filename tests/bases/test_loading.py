"""Opening bases: from files and folders, offline, and what is said of distilled ones."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import limner
from limner.apps.cli.main import main
from limner.bases.common.loading import FAMILIES, load
from limner.errors import FileError, InputError

from .families import BUILDERS, save_tiny
from .families import stable_diffusion as save_sd


def test_every_family_is_listed_built_and_documented(capsys: pytest.CaptureFixture[str]) -> None:
    assert {known.module for known in FAMILIES} == set(BUILDERS)
    assert main(["bases", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["family"] for row in rows[1:]] == [known.module for known in FAMILIES]
    assert all({"predicts", "attention", "words", "pipelines"} <= row.keys() for row in rows[1:])
    assert main(["bases"]) == 0
    assert "FLUX.2 klein" in capsys.readouterr().out


def test_offline_no_socket_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("the network was asked")

    folder = save_tiny("sdxl", tmp_path / "sdxl")
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert limner.paint(load(folder, device="cpu", offline=True), "a dog", settings=limner.PaintSettings(steps=1))
    with pytest.raises(FileError, match="network is switched off"):
        load("nobody/nothing", device="cpu", offline=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FileError, match="network is switched off"):
        load("nobody/nothing", device="cpu")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("sdxl-turbo", "adversarial"),
        ("FLUX.1-schnell", "timestep"),
        ("my_LCM_model", "latent consistency"),
        ("SDXL-Lightning", "progressive"),
        ("stable-diffusion-xl-base-1.0", ""),
        ("dreamshaper-8", ""),
    ],
)
def test_distilled_bases_are_known_by_name(tmp_path: Path, name: str, what: str) -> None:
    base = load(save_tiny("sdxl", tmp_path / name), device="cpu")
    assert what in base.distilled
    assert bool(base.distilled) == bool(what)


def test_what_was_distilled_to_do_without_guidance_is_painted_in_one_pass(tmp_path: Path) -> None:
    turbo = load(save_tiny("sdxl", tmp_path / "sdxl-turbo"), device="cpu")
    plain, strong = (limner.paint(turbo, "a dog", settings=limner.PaintSettings(2, scale))[0] for scale in (1.0, 9.0))
    assert plain.image.tobytes() == strong.image.tobytes()
    usual = load(save_tiny("sdxl", tmp_path / "sdxl"), device="cpu")
    plain, strong = (limner.paint(usual, "a dog", settings=limner.PaintSettings(2, scale))[0] for scale in (1.0, 9.0))
    assert plain.image.tobytes() != strong.image.tobytes()


def test_distilled_bases_are_known_by_their_settings(tmp_path: Path) -> None:
    from diffusers import LCMScheduler

    folder = save_tiny("sdxl", tmp_path / "one")
    LCMScheduler().save_pretrained(folder / "scheduler")
    index = json.loads((folder / "model_index.json").read_text())
    index["scheduler"] = ["diffusers", "LCMScheduler"]
    (folder / "model_index.json").write_text(json.dumps(index))
    assert "scheduler says so" in load(folder, device="cpu").distilled
    folder = save_tiny("flux2", tmp_path / "two")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"is_distilled": True}))
    assert "model_index.json says so" in load(folder, device="cpu").distilled


def test_teaching_a_distilled_base_comes_with_a_word_of_advice(
    tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save_tiny("sdxl", tmp_path / "sdxl-turbo")
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
        "textual_inversion",
    ]
    assert main([*told, "--steps", "1", "--preview", "0", "--no-check", "--out", str(tmp_path)]) == 0
    assert "Learn on the" in capsys.readouterr().err


# --------------------------------------------------------------------------------------------------------- single files


def in_its_makers_layout(base: Any) -> dict[str, Tensor]:
    """Stable Diffusion's checkpoint of a tiny pipeline: the numbering of its makers, written from diffusers' names."""
    found = {}
    for name, tensor in base.module("denoiser").state_dict().items():
        found[f"model.diffusion_model.{_unet(name)}"] = tensor
    for name, tensor in base.module("autoencoder").state_dict().items():
        found[f"first_stage_model.{_vae(name)}"] = tensor[..., None, None] if _is_conv_here(name) else tensor
    for name, tensor in base.module("text_encoder").state_dict().items():
        found[f"cond_stage_model.transformer.text_model.{name}"] = tensor
    return found


def _unet(name: str) -> str:
    from limner.bases.common.names import _sgm

    class Two:
        """As the numbering needs it: one residual block in each of two blocks."""

        def module(self, _: str) -> Any:
            return self

        config = type("Config", (), {"layers_per_block": 1})

        def named_modules(self) -> Any:
            return [("up_blocks.1.attentions", None)]

    stem, _, end = name.rpartition(".")
    outer = {
        "conv_in": "input_blocks.0.0", "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
        "conv_norm_out": "out.0", "conv_out": "out.2",
    }  # fmt: skip
    if stem in outer:
        return f"{outer[stem]}.{end}"
    norms = {"norm1": "in_layers.0", "norm2": "out_layers.0"}
    last = stem.rpartition(".")[2]
    if "resnets" in stem and last in norms:
        return f"{_sgm(Two(), stem.removesuffix(last) + 'conv1').removesuffix('in_layers.2')}{norms[last]}.{end}"  # type: ignore[arg-type]
    return f"{_sgm(Two(), stem)}.{end}"  # type: ignore[arg-type]


def _vae(name: str) -> str:
    for theirs, ours in (
        ("conv_norm_out", "norm_out"), ("conv_shortcut", "nin_shortcut"), ("downsamplers.0", "downsample"),
        ("upsamplers.0", "upsample"), ("mid_block.resnets.0", "mid.block_1"), ("mid_block.resnets.1", "mid.block_2"),
        ("mid_block.attentions.0", "mid.attn_1"), ("group_norm", "norm"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v"),
        ("to_out.0", "proj_out"),
    ):  # fmt: skip
        name = name.replace(theirs, ours)
    for k in range(2):
        name = name.replace(f"down_blocks.{k}.resnets.", f"down.{k}.block.").replace(f"down_blocks.{k}.", f"down.{k}.")
        name = name.replace(f"up_blocks.{k}.resnets.", f"up.{1 - k}.block.").replace(f"up_blocks.{k}.", f"up.{1 - k}.")
    return name


def _is_conv_here(name: str) -> bool:
    return "attentions" in name and name.endswith("weight") and "group_norm" not in name


def test_a_single_checkpoint_file_paints_what_its_folder_paints(tmp_path: Path) -> None:
    folder = save_sd(tmp_path / "sd", "1.5")
    whole: Any = load(folder, device="cpu")
    save_file({k: v.contiguous() for k, v in in_its_makers_layout(whole).items()}, tmp_path / "one.safetensors")
    base = load(tmp_path / "one.safetensors", device="cpu", config=folder, offline=True)
    assert (base.name, base.family) == ("one", "stable_diffusion")
    how = limner.PaintSettings(steps=3)
    shown = [limner.paint(b, "a red dog", seed=1, settings=how)[0].image.tobytes() for b in (whole, base)]
    assert shown[0] == shown[1]


def test_files_that_are_no_checkpoints_are_refused(tmp_path: Path) -> None:
    save_file({"nothing": torch.zeros(2)}, tmp_path / "odd.safetensors")
    with pytest.raises((FileError, InputError)):
        load(tmp_path / "odd.safetensors", device="cpu", offline=True)
    (tmp_path / "cut.safetensors").write_bytes(b"1234567890")
    with pytest.raises(FileError, match="cannot be read as a checkpoint"):
        load(tmp_path / "cut.safetensors", device="cpu", offline=True)
    with pytest.raises(FileError, match="there is no file"):
        load(tmp_path / "none.safetensors", device="cpu", offline=True)
