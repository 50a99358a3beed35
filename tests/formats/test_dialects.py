"""Other tools' names, strengths and forms of changes, against their published formulas and PEFT's own code."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

import limner
from limner.bases.common.loading import load
from limner.bases.common.names import known_names, table
from limner.core.concept import IMPORTED, Concept
from limner.core.streams import stream
from limner.core.subject import Subject
from limner.engine.attach import attach
from limner.errors import FileError, InputError
from limner.formats import export, import_file
from limner.library.opening import adapter_of
from limner.parts.modifiers.weight_changes import factorised
from tests.bases.families import save_tiny
from tests.bases.families import stable_diffusion as save_sd

TO_Q = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("bases")
    made = {"sd": save_sd(root / "sd", "1.5"), "sd2": save_sd(root / "sd2", "2.1")}
    return made | {name: save_tiny(name, root / name) for name in ("sdxl", "sd3", "flux", "pixart")}


@pytest.fixture(scope="module")
def bases(folders: dict[str, Path]) -> dict[str, Any]:
    return {name: load(folder, device="cpu") for name, folder in folders.items()}


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=stream(seed, "made", *map(str, shape)))


def layer(base: Any, name: str, part: str = "denoiser") -> Any:
    return base.module(part).get_submodule(name)


def written(path: Path, tensors: dict[str, Tensor], **metadata: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path, metadata=metadata or None)
    return path


def read(path: Path, base: Any) -> Concept:
    concept = import_file(path, base, name="rex", noun="dog").concept
    assert concept is not None
    return concept


@torch.no_grad()
def added(base: Any, concept: Concept, name: str, part: str = "denoiser") -> Tensor:
    """The change of a layer's weight with the concept attached, as [out, in * kernel]."""
    module = layer(base, name, part)
    if module.weight.ndim == 2:
        probe = torch.eye(module.in_features)
        before = module(probe)
        with attach(base, (adapter_of(concept, base),)):
            return (module(probe) - before).T
    wide = module.weight[0].numel()
    probe = torch.eye(wide).view(wide, *module.weight.shape[1:])
    before, kept = module.bias.clone(), (module.stride, module.padding)
    module.stride, module.padding = (1, 1), (0, 0)
    try:
        plain = module(probe)
        with attach(base, (adapter_of(concept, base),)):
            found = module(probe)
    finally:
        module.stride, module.padding = kept
    assert torch.equal(before, module.bias)
    return (found - plain).flatten(1).T


def close(found: Tensor, wanted: Tensor) -> bool:
    return bool(torch.allclose(found, wanted.flatten(1), atol=2e-5 * float(wanted.abs().max().clamp_min(1))))


def stored(base: Any, tensors: dict[str, Tensor]) -> Concept:
    """A concept with changes of layers, as a file's would be."""
    about = {"name": base.name, "family": base.family, "fingerprint": base.fingerprint}
    card = {"handle": "<rex>", "noun": "dog", "kind": "object", "pictures": []}
    return Concept("<rex>", IMPORTED, {"says": "sks dog", "words": 0}, about, card, 0, tensors)


def every_layer(base: Any, rank: int = 2) -> dict[str, Tensor]:
    """A low-rank change of every linear and convolution layer of the denoiser."""
    found = {}
    for name, module in base.projections("everything").items():
        weight = module.weight
        found[f"low_rank.{name}.down"] = random(rank, *weight.shape[1:])
        found[f"low_rank.{name}.up"] = random(weight.shape[0], rank, *(1 for _ in weight.shape[2:]))
        found[f"low_rank.{name}.alpha"] = torch.tensor(0.5)
    return found


# ------------------------------------------------------------------------------------------------------------ strengths


def test_the_header_says_how_strong_diffusers_files_are(bases: dict[str, Any], tmp_path: Path) -> None:
    """alpha / r, or alpha / sqrt(r) with rslora; patterns of names come first (PEFT's LoraConfig)."""
    base, to_v = bases["sd"], TO_Q.replace("to_q", "to_v")
    down, up = random(4, 32), random(32, 4)
    tensors = {f"unet.{TO_Q}.lora_A.weight": down, f"unet.{TO_Q}.lora_B.weight": up}
    tensors |= {f"unet.{to_v}.lora_A.weight": down, f"unet.{to_v}.lora_B.weight": up}
    about = {"unet.r": 4, "unet.lora_alpha": 16, "unet.alpha_pattern": {"attn1.to_v": 2}}
    for more, wanted in (({}, (4.0, 0.5)), ({"unet.use_rslora": True}, (8.0, 1.0))):
        header = json.dumps(about | more)
        concept = read(written(tmp_path / "d.safetensors", tensors, lora_adapter_metadata=header), base)
        for name, strength in zip((TO_Q, to_v), wanted, strict=True):
            assert close(added(base, concept, name), strength * up @ down)
    for bad in ("[", "[]", '{"unet.lora_alpha": "four"}', '{"unet.alpha_pattern": {"(a+)+$": 1}}'):
        file = written(tmp_path / "bad.safetensors", tensors, lora_adapter_metadata=bad)
        with pytest.raises(FileError, match=r"damaged|only names of layers"):
            read(file, base)


def test_a_strength_survives_diffusers_and_its_loader_wears_it(
    bases: dict[str, Any], folders: dict[str, Path], tmp_path: Path
) -> None:
    from diffusers import UNet2DConditionModel

    base = bases["sd"]
    concept = stored(base, every_layer(base))
    done = export(concept, base, tmp_path, to="diffusers")
    back = read(done.files[0], base)
    network = UNet2DConditionModel.from_pretrained(folders["sd"], subfolder="unet")
    network.load_lora_adapter(load_file(done.files[0]), prefix="unet")  # without the header, as older readers
    about = (random(1, 4, 8, 8), torch.tensor([7]))
    with torch.no_grad():
        theirs = network(*about, encoder_hidden_states=random(1, 5, 32)).sample
        for each in (concept, back):
            with attach(base, (adapter_of(each, base),)):
                ours = base.module("denoiser")(*about, encoder_hidden_states=random(1, 5, 32)).sample
            assert torch.allclose(ours, theirs, atol=1e-5 * float(theirs.abs().max()))


def test_alpha_counts_where_a_kronecker_factor_is_a_product(bases: dict[str, Any], tmp_path: Path) -> None:
    """As in LyCORIS: the scale is alpha over the product's rank, and 1 for two whole factors."""
    base, stem = bases["sd"], "lora_unet_" + TO_Q.replace(".", "_")
    c_a, c_b, d_a, d_b = random(4, 2), random(2, 4, seed=1), random(8, 2), random(2, 8, seed=2)
    alpha = {f"{stem}.alpha": torch.tensor(0.25)}
    parts = {f"{stem}.lokr_w1_a": c_a, f"{stem}.lokr_w1_b": c_b, f"{stem}.lokr_w2_a": d_a, f"{stem}.lokr_w2_b": d_b}
    concept = read(written(tmp_path / "a.safetensors", parts | alpha), base)
    assert close(added(base, concept, TO_Q), 0.25 / 2 * torch.kron(c_a @ c_b, d_a @ d_b))
    parts = {f"{stem}.lokr_w1": c_a @ c_b, f"{stem}.lokr_w2": d_a @ d_b}
    concept = read(written(tmp_path / "b.safetensors", parts | alpha), base)
    assert close(added(base, concept, TO_Q), torch.kron(c_a @ c_b, d_a @ d_b))


def test_tuckers_forms_and_products_of_convolutions(bases: dict[str, Any], tmp_path: Path) -> None:
    """The published products (LyCORIS, functional/*.py), each written out as a sum over its indices here."""
    base, name = bases["sd"], "conv_in"
    stem, (high, wide) = f"lora_unet_{name}", layer(base, name).weight.shape[:2]
    core, up, down = random(2, 2, 3, 3), random(high, 2), random(2, wide)
    one, two = random(2, high), random(2, wide, seed=1)
    c, d_a, d_b = random(4, 2), random(high // 4, 2), random(2, wide // 2 * 9)
    locon = {"lora_up.weight": up[..., None, None], "lora_mid.weight": core, "lora_down.weight": down[..., None, None]}
    loha = {"hada_w1_a": one, "hada_w1_b": two, "hada_t1": core, "hada_w2_a": one, "hada_w2_b": down, "hada_t2": core}
    tucker = {"lokr_w1": c, "lokr_w2_a": random(2, high // 4), "lokr_w2_b": random(2, wide // 2), "lokr_t2": core}
    whole = torch.einsum("ijkl,ip,jr->prkl", core, tucker["lokr_w2_a"], tucker["lokr_w2_b"])
    first, second = (torch.einsum("ijkl,ip,jr->prkl", core, one, b) for b in (two, down))
    for number, (parts, wanted) in enumerate((
        (locon, torch.einsum("om,mnkl,ni->oikl", up, core, down) * 0.5),
        (loha, first * second * 0.5),
        ({"lokr_w1": c, "lokr_w2_a": d_a, "lokr_w2_b": d_b},
         torch.kron(c[..., None, None], (d_a @ d_b).view(high // 4, wide // 2, 3, 3)) * 0.5),
        (tucker, torch.kron(c[..., None, None], whole.contiguous()) * 0.5),
        ({"lora_down.weight": down.repeat(1, 9).view(2, wide, 3, 3), "lora_up.weight": up},  # DyLoRA's joined blocks
         torch.einsum("om,mikl->oikl", up, down.repeat(1, 9).view(2, wide, 3, 3)) * 0.5),
    )):  # fmt: skip
        tensors = {f"{stem}.{key}": tensor for key, tensor in parts.items()} | {f"{stem}.alpha": torch.tensor(1.0)}
        concept = read(written(tmp_path / f"{number}.safetensors", tensors), base)
        assert close(added(base, concept, name), wanted), number
        export(concept, base, tmp_path / str(number), to="kohya")
    scalar = {f"{stem}.lora_down.weight": random(2, wide, 3, 3), f"{stem}.lora_up.weight": random(high, 2, 1, 1)}
    plain = added(base, read(written(tmp_path / "p.safetensors", scalar), base), name)
    more = scalar | {f"{stem}.scalar": torch.tensor(3.0)}
    assert close(added(base, read(written(tmp_path / "s.safetensors", more), base), name), 3 * plain)


@pytest.mark.parametrize("along", [0, 1])
def test_decomposed_changes(bases: dict[str, Any], tmp_path: Path, along: int) -> None:
    """m (W + B A) / ||W + B A||, by rows or by columns (DoRA, arXiv:2402.09353)."""
    base, stem = bases["sd"], "lora_unet_" + TO_Q.replace(".", "_")
    weight = layer(base, TO_Q).weight.detach()
    down, up = random(2, 32), random(32, 2)
    magnitude = random(32, 1).abs() if along == 0 else random(1, 32).abs()
    tensors = {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up, f"{stem}.dora_scale": magnitude}
    concept = read(written(tmp_path / "d.safetensors", tensors), base)
    whole = weight + up @ down
    wanted = magnitude * whole / whole.square().sum(1 - along, keepdim=True).sqrt() - weight
    assert close(added(base, concept, TO_Q), wanted)
    again = read(export(concept, base, tmp_path / "out", to="kohya").files[0], base)
    assert close(added(base, again, TO_Q), wanted)
    with pytest.raises(InputError, match="no DoRA"):
        export(concept, base, tmp_path / "out", to="diffusers")


def test_kinds_that_are_not_worn_are_named(bases: dict[str, Any], tmp_path: Path) -> None:
    stem = "lora_unet_" + TO_Q.replace(".", "_")
    for key, said in (("oft_blocks", "OFT or BOFT"), ("on_input", r"\(IA\)3"), ("a1.weight", "GLoRA")):
        tensors = {f"{stem}.{key}": random(4, 4), f"{stem}.alpha": torch.tensor(1.0)}
        with pytest.raises(FileError, match=said):
            read(written(tmp_path / "k.safetensors", tensors), bases["sd"])


# ---------------------------------------------------------------------------------------------------------------- names


def test_text_encoders_of_both_generations_of_transformers(bases: dict[str, Any], tmp_path: Path) -> None:
    for family, part in (("sd", "text_encoder"), ("sdxl", "text_encoder"), ("sdxl", "text_encoder_2")):
        base, number = bases[family], part.removeprefix("text_encoder_") if part[-1].isdigit() else "1"
        bare = "encoder.layers.0.self_attn.q_proj"
        name = next(n for n, _ in base.module(part).named_modules() if n.endswith(bare))
        for stem in (
            f"{part}.text_model.{bare}", f"{part}.{bare}", f"lora_te{number}_text_model_{bare.replace('.', '_')}",
            f"text_encoders.clip_{'l' if number == '1' else 'g'}.transformer.text_model.{bare}",
        ):  # fmt: skip
            down, up = random(2, 32), random(32, 2)
            ends = ("lora_down.weight", "lora_up.weight") if "lora_te" in stem else ("lora_A.weight", "lora_B.weight")
            file = written(
                tmp_path / "t.safetensors", dict(zip((f"{stem}.{e}" for e in ends), (down, up), strict=True))
            )
            concept = read(file, base)
            assert close(added(base, concept, name, part), up @ down)
        done = export(concept, base, tmp_path / f"{family}{number}", to="diffusers")
        assert f"{part}.text_model.{bare}.lora_A.weight" in load_file(done.files[0])


@pytest.mark.parametrize(
    ("family", "stem", "name"),
    [
        ("sd", f"base_model.model.{TO_Q}", TO_Q),
        ("sd", f"unet.base_model.model.{TO_Q}", TO_Q),
        ("sd", "lycoris_" + TO_Q.replace(".", "_"), TO_Q),
        ("sd", "diffusion_model.middle_block.1.transformer_blocks.0.attn1.to_q", TO_Q),
        ("sdxl", "lora_unet_input_blocks_0_0", "conv_in"),
        ("sdxl", "lora_unet_time_embed_0", "time_embedding.linear_1"),
        ("sdxl", "lora_unet_label_emb_0_2", "add_embedding.linear_2"),
        ("sdxl", "lora_unet_out_2", "conv_out"),
        ("flux", "lora_transformer_single_transformer_blocks_0_proj_out", "single_transformer_blocks.0.proj_out"),
        ("flux", "diffusion_model.final_layer.linear", "proj_out"),
        ("sd3", "lora_unet_joint_blocks_0_x_block_attn_proj", "transformer_blocks.0.attn.to_out.0"),
        ("sd3", "transformer.transformer_blocks.0.attn.to_q", "transformer_blocks.0.attn.to_q"),
    ],
)
def test_names_that_tools_train_with(bases: dict[str, Any], tmp_path: Path, family: str, stem: str, name: str) -> None:
    base = bases[family]
    weight = layer(base, name).weight
    down, up = random(2, *weight.shape[1:]), random(len(weight), 2, *(1 for _ in weight.shape[2:]))
    tensors = {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
    concept = read(written(tmp_path / "n.safetensors", tensors), base)
    assert close(added(base, concept, name), up.flatten(1) @ down.flatten(1))


def test_t5_is_the_third_encoder_of_other_tools(bases: dict[str, Any]) -> None:
    for family, part in (("flux", "text_encoder_2"), ("sd3", "text_encoder_3")):
        target = known_names(bases[family])["lora_te3_encoder_block_0_layer_0_SelfAttention_q"]
        assert target[0].layer == f"{part}.encoder.block.0.layer.0.SelfAttention.q"


@pytest.mark.parametrize("to", ["kohya", "comfyui"])
def test_stable_diffusion_3_by_its_makers_names(bases: dict[str, Any], tmp_path: Path, to: str) -> None:
    """Queries, keys and values in one matrix, and scale before shift in the last modulations (ComfyUI's
    mmdit_to_diffusers)."""
    base = bases["sd3"]
    concept = stored(base, every_layer(base))
    tensors = load_file(export(concept, base, tmp_path, to=to).files[0])
    join = "_" if to == "kohya" else "."
    prefix, ends = (
        ("lora_unet_", ("lora_down", "lora_up")) if to == "kohya" else ("diffusion_model.", ("lora_A", "lora_B"))
    )
    stems = {key.rsplit(f".{ends[0]}.", 1)[0] for key in tensors if f".{ends[0]}." in key}
    expected = {
        *(f"joint_blocks.{k}.{x}" for k in (0, 1) for x in ("x_block.attn.qkv", "x_block.attn.proj", "context_block.attn.qkv")),
        "final_layer.adaLN_modulation.1", "final_layer.linear", "x_embedder.proj", "context_embedder", "t_embedder.mlp.0",
        "y_embedder.mlp.2", "joint_blocks.0.context_block.mlp.fc1", "joint_blocks.1.x_block.adaLN_modulation.1",
    }  # fmt: skip
    assert {prefix + stem.replace(".", join) for stem in expected} <= stems
    assert not any("transformer_blocks" in stem for stem in stems)
    stem = prefix + "final_layer.adaLN_modulation.1".replace(".", join)
    name = "norm_out.linear"
    back = read(written(tmp_path / "back.safetensors", tensors), base)
    ours = added(base, concept, name)
    theirs = tensors[f"{stem}.{ends[1]}.weight"] @ tensors[f"{stem}.{ends[0]}.weight"] * 0.25
    assert torch.allclose(theirs, torch.cat(ours.chunk(2)[::-1]), atol=1e-4)
    for each in (name, "transformer_blocks.0.attn.to_k", "transformer_blocks.1.norm1_context.linear", "pos_embed.proj"):
        assert close(added(base, back, each), added(base, concept, each))


@pytest.mark.parametrize("kind", ["loha", "lokr"])
def test_lycoris_changes_of_matrices_that_hold_several_layers(bases: dict[str, Any], tmp_path: Path, kind: str) -> None:
    base, block = bases["flux"], "single_transformer_blocks.0"
    names = [*(f"{block}.attn.to_{x}" for x in "qkv"), f"{block}.proj_mlp"]
    weights = [layer(base, name).weight for name in names]
    high, wide = sum(len(w) for w in weights), weights[0].shape[1]
    if kind == "loha":
        a1, b1, a2, b2 = random(high, 2), random(2, wide), random(high, 2, seed=1), random(2, wide, seed=1)
        parts, whole = {"hada_w1_a": a1, "hada_w1_b": b1, "hada_w2_a": a2, "hada_w2_b": b2}, (a1 @ b1) * (a2 @ b2)
    else:
        c, d = random(2, 2), random(high // 2, wide // 2)
        parts, whole = {"lokr_w1": c, "lokr_w2": d}, torch.kron(c, d)
    stem = "lora_unet_single_blocks_0_linear1"
    file = written(tmp_path / "f.safetensors", {f"{stem}.{key}": tensor for key, tensor in parts.items()})
    again = export(read(file, base), base, tmp_path / "again", to="kohya").files[0]
    read(file, base).save(tmp_path / "concept.safetensors")
    for concept in (read(file, base), read(again, base)):
        start = 0
        for name, weight in zip(names, weights, strict=True):
            assert close(added(base, concept, name), whole[start : start + len(weight)])
            start += len(weight)


def test_comfyuis_extracted_differences(bases: dict[str, Any], tmp_path: Path) -> None:
    base, bias = bases["sd"], layer(bases["sd"], "conv_in").bias.detach().clone()
    norm = layer(base, "mid_block.resnets.0.norm1").weight.detach().clone()
    tensors = {
        "diffusion_model.input_blocks.0.0.lora_up.weight": random(16, 2, 1, 1).half(),
        "diffusion_model.input_blocks.0.0.lora_down.weight": random(2, 4, 3, 3).half(),
        "diffusion_model.input_blocks.0.0.diff_b": random(16),
        "diffusion_model.middle_block.0.in_layers.0.diff": random(32),
    }
    concept = read(written(tmp_path / "c.safetensors", tensors), base)
    with attach(base, (adapter_of(concept, base),)):
        assert torch.allclose(layer(base, "conv_in").bias, bias + random(16))
        assert torch.allclose(layer(base, "mid_block.resnets.0.norm1").weight, norm + random(32))
    assert torch.equal(layer(base, "conv_in").bias, bias)


# ------------------------------------------------------------------------------------------------------------------ out


def metadata(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata())


def test_layers_that_the_scripts_leave_out_are_told(bases: dict[str, Any], tmp_path: Path) -> None:
    for family, missing in (("sd", "conv_in"), ("sdxl", "add_embedding"), ("flux", "norm_out")):
        base = bases[family]
        done = export(stored(base, every_layer(base)), base, tmp_path / family, to="kohya")
        (note,) = [note for note in done.notes if "leaves out" in note]
        assert "lycoris.kohya" in note
        assert any(missing in layer for layer in base.projections("everything"))
        about = metadata(done.files[0])
        assert about["ss_network_module"] == "lycoris.kohya"
        assert json.loads(about["ss_network_args"])["algo"] == "locon"
        assert len(read(done.files[0], base).tensors) == len(every_layer(base))


def test_families_without_readers_are_refused(bases: dict[str, Any], tmp_path: Path) -> None:
    base = bases["pixart"]
    concept = stored(base, every_layer(base))
    with pytest.raises(InputError, match="no tool is known to read files of kohya for pixart"):
        export(concept, base, tmp_path, to="kohya")
    keys = load_file(export(concept, base, tmp_path, to="comfyui").files[0])
    assert all(key.startswith("transformer.") for key in keys)  # ComfyUI's pixart_to_diffusers


def test_a_header_says_what_is_there(bases: dict[str, Any], tmp_path: Path) -> None:
    names = {"down": random(4, 32), "up": random(32, 4)}
    for family, version, architecture in (
        ("sd", "sd_v1", "stable-diffusion-v1/lora"),
        ("sd2", "sd_v1_v", "stable-diffusion-v1/lora"),  # its width is that of 1.x
        ("sdxl", "sdxl_base_v1-0", "stable-diffusion-xl-v1-base/lora"),
    ):
        base = bases[family]
        concept = stored(base, {f"low_rank.denoiser.{TO_Q}.{key}": tensor for key, tensor in names.items()})
        path = export(concept, base, tmp_path / family, to="kohya").files[0]
        about, data = metadata(path), path.read_bytes()
        assert (about["ss_base_model_version"], about["modelspec.architecture"]) == (version, architecture)
        assert about["ss_network_args"] == "{}"
        start = 8 + int.from_bytes(data[:8], "little")
        assert about["sshs_model_hash"] == sha256(data[start:]).hexdigest()
        assert len(about["sshs_legacy_hash"]) == 8


def test_stable_diffusion_2_is_called_so(
    bases: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    base = bases["sd2"]
    monkeypatch.setattr(type(base), "word_widths", [1024])
    down = {f"low_rank.denoiser.{TO_Q}.down": random(4, 32), f"low_rank.denoiser.{TO_Q}.up": random(32, 4)}
    about = metadata(export(stored(base, down), base, tmp_path, to="kohya").files[0])
    assert about["ss_base_model_version"] == "sd_v2_v"
    assert about["modelspec.architecture"] == "stable-diffusion-v2-768-v/lora"
    assert about["modelspec.prediction_type"] == "v"


def test_kronecker_products_are_divided_and_written_as_lycoris_reads_them(
    bases: dict[str, Any], tmp_path: Path
) -> None:
    """The table in LyCORIS' own docstring of `factorization`, and sizes below the factor."""
    assert [factorised(128, k) for k in (-1, 2, 4, 8, 16)] == [(8, 16), (2, 64), (4, 32), (8, 16), (8, 16)]
    assert [factorised(250, k) for k in (-1, 2, 4, 8, 16)] == [(10, 25), (2, 125), (2, 125), (5, 50), (10, 25)]
    assert [factorised(512, k) for k in (-1, 2, 4, 8, 16)] == [(16, 32), (2, 256), (4, 128), (8, 64), (16, 32)]
    assert factorised(4, 6) == (2, 2)
    base = bases["sd"]
    parts = {f"weight.denoiser.{TO_Q}.c": random(4, 4), f"weight.denoiser.{TO_Q}.d": random(8, 8)}
    path = export(stored(base, parts), base, tmp_path, to="kohya").files[0]
    about, tensors = metadata(path), load_file(path)
    assert about["ss_network_dim"] == "8"
    assert [float(t) for key, t in tensors.items() if key.endswith(".alpha")] == [8.0]
    assert json.loads(about["ss_network_args"]) == {"algo": "lokr", "factor": "4", "full_matrix": "True"}


# ----------------------------------------------------------------------------------------------------------------- PEFT


@torch.no_grad()
def run(network: Any) -> Tensor:
    found: Tensor = network(random(1, 4, 8, 8), torch.tensor([7]), encoder_hidden_states=random(1, 5, 32)).sample
    return found


@pytest.mark.parametrize("kind", ["lora", "dora", "loha", "lokr", "oft"])
def test_peft_folders_in_and_out(bases: dict[str, Any], folders: dict[str, Path], tmp_path: Path, kind: str) -> None:
    from diffusers import UNet2DConditionModel
    from peft import LoHaConfig, LoKrConfig, LoraConfig, OFTConfig, PeftModel, get_peft_model

    layers = ["to_q", "conv1", "proj_in"]
    configs: dict[str, Any] = {
        "lora": LoraConfig(r=4, lora_alpha=6, use_rslora=True, rank_pattern={"conv1": 2}, target_modules=layers),
        "dora": LoraConfig(r=3, lora_alpha=6, use_dora=True, alpha_pattern={"to_q": 1}, target_modules=layers),
        "loha": LoHaConfig(r=3, alpha=6, target_modules=layers, use_effective_conv2d=True),
        "lokr": LoKrConfig(r=2, alpha=6, target_modules=layers, decompose_both=True),
        "oft": OFTConfig(r=4, oft_block_size=0, target_modules=["to_q"], use_cayley_neumann=False),
    }
    base = bases["sd"]

    def fresh() -> Any:
        return UNet2DConditionModel.from_pretrained(folders["sd"], subfolder="unet")

    torch.manual_seed(0)
    theirs = get_peft_model(fresh(), configs[kind])
    for parameter in theirs.parameters():
        if parameter.requires_grad:
            parameter.data += 0.2 * torch.randn_like(parameter)
    wanted = run(theirs.eval())
    theirs.save_pretrained(tmp_path / "in")
    concept = read(tmp_path / "in", base)
    done = export(concept, base, tmp_path / "out", to="peft")
    assert {file.name for file in done.files} == {"adapter_model.safetensors", "adapter_config.json"}
    again = PeftModel.from_pretrained(fresh(), str(done.files[0].parent)).eval()
    limit = 1e-5 * float(wanted.abs().max())
    assert not torch.allclose(run(base.module("denoiser")), wanted, atol=100 * limit)
    with attach(base, (adapter_of(concept, base),)):
        assert torch.allclose(run(base.module("denoiser")), wanted, atol=limit)
    assert torch.allclose(run(again), wanted, atol=limit)


def test_peft_holds_our_rotations(bases: dict[str, Any], folders: dict[str, Path], tmp_path: Path) -> None:
    from diffusers import UNet2DConditionModel
    from peft import PeftModel

    base = bases["sd"]
    noise = np.random.default_rng(0).integers(0, 255, (2, 24, 24, 3), dtype=np.uint8)
    rex = Subject.of([Image.fromarray(picture) for picture in noise], noun="dog", handle="rex")
    for radius in (0.0, 0.05):
        how: dict[str, Any] = {"steps": 2, "lr": 0.1, "batch": 1, "prior_weight": 0.0}
        concept = limner.learn(base, rex, method="oft", radius=radius, **how)
        done = export(concept, base, tmp_path / str(radius), to="peft")
        network = UNet2DConditionModel.from_pretrained(folders["sd"], subfolder="unet")
        theirs = run(PeftModel.from_pretrained(network, str(done.files[0].parent)).eval())
        with attach(base, (adapter_of(concept, base),)):
            assert torch.allclose(run(base.module("denoiser")), theirs, atol=1e-5)
        with pytest.raises(InputError, match="has tensors that no file of kohya"):
            export(concept, base, tmp_path / "kohya", to="kohya")


def test_peft_folders_that_are_not_read_say_why(bases: dict[str, Any], tmp_path: Path) -> None:
    tensors = {
        f"base_model.model.{TO_Q}.lora_A.weight": random(2, 32),
        f"base_model.model.{TO_Q}.lora_B.weight": random(32, 2),
    }
    written(tmp_path / "adapter_model.safetensors", tensors)
    for text, said in (
        ("{", "not JSON"), ('{"peft_type": "VERA"}', "'VERA'"), ("[]", "list"),
        ('{"peft_type": "LORA", "fan_in_fan_out": true}', "fan_in_fan_out"),
        ('{"peft_type": "LORA", "alpha_pattern": [1]}', "no table"),
        ('{"peft_type": "LORA", "lora_alpha": "x"}', "expected numbers"),
    ):  # fmt: skip
        (tmp_path / "adapter_config.json").write_text(text)
        with pytest.raises(FileError, match=said):
            read(tmp_path, bases["sd"])
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2, "lora_alpha": 2}')
    with pytest.raises(FileError, match="another base"):
        read(tmp_path, bases["sd3"])


# ----------------------------------------------------------------------------------------------- embeddings and pickles


def test_an_embedding_is_known_by_its_shape_and_called_by_its_word(bases: dict[str, Any], tmp_path: Path) -> None:
    base = bases["sd"]
    for key, handle in (("emb_1.5", "<emb-1-5>"), ("<cat-v1.5>", "<cat-v1-5>"), ("<cat-toy>", "<cat-toy>")):
        file = written(tmp_path / "learned_embeds.safetensors", {key: random(2, 32)})
        assert import_file(file, base, noun="cat").concept.handle == handle  # type: ignore[union-attr]
    file = written(tmp_path / "fluffy.safetensors", {"emb_params": random(2, 32)})
    assert import_file(file, base, noun="cat").concept.handle == "<fluffy>"  # type: ignore[union-attr]


def test_a_word_of_sdxl_in_two_files(bases: dict[str, Any], tmp_path: Path) -> None:
    base = bases["sdxl"]
    first, second = (random(2, wide, seed=k) for k, wide in enumerate(base.word_widths))
    name = "learned_embeds{}-steps-5.safetensors"
    one = written(tmp_path / name.format(""), {"<cat-toy>": first})
    with pytest.raises(FileError, match=r"learned_embeds_2-steps-5\.safetensors\) beside it"):
        import_file(one, base, noun="toy")
    two = written(tmp_path / name.format("_2"), {"<cat-toy>": second})
    for file in (one, two):
        concept = import_file(file, base, noun="toy").concept
        assert concept is not None
        assert torch.equal(concept.tensors["word.<cat-toy>"], torch.cat([first, second], 1))


def test_tables_of_tensors_in_pickles(bases: dict[str, Any], tmp_path: Path) -> None:
    base = bases["sd"]
    down, up = random(2, 32), random(32, 2)
    at = TO_Q.removesuffix(".to_q")
    torch.save(
        {f"{at}.processor.to_q_lora.down.weight": down, f"{at}.processor.to_q_lora.up.weight": up}, tmp_path / "a.bin"
    )
    assert close(added(base, read(tmp_path / "a.bin", base), TO_Q), up @ down)
    cross = [site.name for site in base.sites if site.kind == "cross"]
    keys = {f"{name}.processor.{k}_custom_diffusion.weight": layer(base, f"{name}.{k}").weight + 1
            for name in cross for k in ("to_k", "to_v")}  # fmt: skip
    torch.save(keys, tmp_path / "custom.bin")
    found = import_file(tmp_path / "custom.bin", base, name="rex", noun="dog")
    assert found.what == "custom_diffusion"
    torch.save({"state_dict": keys, "embed": {"<new1>": random(32)}}, tmp_path / "delta.bin")
    with pytest.raises(FileError, match="no table of tensors"):
        read(tmp_path / "delta.bin", base)


def test_every_written_name_is_read_as_the_same_layer(bases: dict[str, Any]) -> None:
    for base in bases.values():
        names = known_names(base)
        for dialect in ("diffusers", "kohya", "comfyui"):
            assert all(names[stem] == targets for stem, targets in table(base, dialect).items())
