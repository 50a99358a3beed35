"""Files of other tools: what limner writes, their own loaders read and paint the same; what they write comes back to
the bit."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

import limner
from limner.bases.common.loading import load
from limner.bases.common.names import table
from limner.core.streams import stream
from limner.core.subject import Subject
from limner.engine.attach import Adapter, attach
from limner.errors import FileError, InputError
from limner.formats import export, import_file
from limner.formats.exporting import export_adapter
from limner.library.opening import adapter_of, recipe_of
from limner.methods import methods
from limner.parts.fusion.decoupled_cross_attention import FEATURES
from tests.bases.families import save_tiny
from tests.bases.families import stable_diffusion as save_sd
from tests.helpers import same

HOW = limner.PaintSettings(steps=3, guidance=3.0)
PLACE = "a photo of {} on the beach"


@pytest.fixture(scope="module")
def rex() -> Subject:
    noise = np.random.default_rng(0).integers(0, 255, (2, 24, 24, 3), dtype=np.uint8)
    return Subject.of([Image.fromarray(picture) for picture in noise], noun="dog", handle="rex")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("bases")
    made = {"sd": save_sd(root / "sd", "1.5")}
    return made | {name: save_tiny(name, root / name) for name in ("sdxl", "sd3", "flux")}


@pytest.fixture(scope="module")
def bases(folders: dict[str, Path]) -> dict[str, Any]:
    return {name: load(folder, device="cpu") for name, folder in folders.items()}


def taught(base: Any, rex: Subject, method: str, **settings: Any) -> limner.Concept:
    return limner.learn(base, rex, method=method, **({"steps": 4, "lr": 0.05, "batch": 1} | settings))


def prompt_of(concept: limner.Concept, base: Any) -> str:
    """The rare word and class noun that stand for the subject."""
    says = recipe_of(concept).says
    return says if isinstance(says, str) else says(base)


def lora(base: Any, rex: Subject) -> limner.Concept:
    return taught(base, rex, "lora_dreambooth", rank=3, prior_weight=0.0)


def pipeline(folder: Path) -> Any:
    from diffusers import DiffusionPipeline

    more = {"safety_checker": None, "requires_safety_checker": False} if folder.name == "sd" else {}
    found = DiffusionPipeline.from_pretrained(folder, **more)
    found.set_progress_bar_config(disable=True)
    return found


def theirs(painter: Any, base: Any, prompt: str, **more: Any) -> Any:
    noise = torch.randn(base.latent_shape, generator=stream(4, "latents"))[None]
    if base.family == "flux":
        noise = painter._pack_latents(noise, 1, *base.latent_shape)
    about = {"num_inference_steps": 3, "guidance_scale": 3.0, "latents": noise, "height": 16, "width": 16}
    return painter(prompt=prompt, **about, **more).images[0]


def ours(base: Any, concept: limner.Concept, prompt: str = PLACE, **more: Any) -> Any:
    return limner.paint(base, prompt.format("<rex>"), concepts=[concept], seed=4, settings=HOW, **more)[0].image


def alike(first: Any, second: Any, most: int = 1) -> bool:
    far = int(np.abs(np.asarray(first, dtype=int) - np.asarray(second, dtype=int)).max())
    print("pictures differ by at most", far)
    return far <= most


# ----------------------------------------------------------------------------------------------------------------- LoRA


@pytest.mark.parametrize("family", ["sd", "sdxl", "sd3", "flux"])
def test_diffusers_loads_our_lora_and_paints_what_we_paint(
    bases: dict[str, Any], folders: dict[str, Path], rex: Subject, tmp_path: Path, family: str, proves: Any
) -> None:
    proves("formats", "LoRA, diffusers", "out", "diffusers' load_lora_weights paints the same (SD, SDXL, SD 3, FLUX)")
    base, concept = bases[family], lora(bases[family], rex)
    done = export(concept, base, tmp_path, to="diffusers")
    painter = pipeline(folders[family])
    says = recipe_of(concept).says
    assert callable(says)
    prompt = PLACE.format(says(base))
    plain = theirs(painter, base, prompt)
    painter.load_lora_weights(done.files[0])
    assert alike(theirs(painter, base, prompt), ours(base, concept))
    assert not alike(plain, ours(base, concept))


@pytest.mark.parametrize("to", ["kohya", "comfyui", "a1111"])
@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_diffusers_loads_our_kohya_file(
    bases: dict[str, Any], folders: dict[str, Path], rex: Subject, tmp_path: Path, family: str, to: str, proves: Any
) -> None:
    proves(
        "formats",
        f"LoRA, {to}",
        "out",
        f"diffusers' load_lora_weights paints the same ({'SD, SDXL, FLUX' if to == 'kohya' else 'SD, SDXL'})",
    )
    base, concept = bases[family], lora(bases[family], rex)
    done = export(concept, base, tmp_path, to=to)
    keys = load_file(done.files[0])
    assert all(key.startswith("lora_unet_") for key in keys)
    assert any("input_blocks" in key for key in keys) == (family == "sdxl")
    painter = pipeline(folders[family])
    painter.load_lora_weights(done.files[0])
    assert alike(theirs(painter, base, PLACE.format(prompt_of(concept, base))), ours(base, concept))


def test_diffusers_loads_our_kohya_file_of_flux(rex: Subject, tmp_path: Path) -> None:
    """Double blocks alone: diffusers' converter has fixed sizes for single blocks."""
    from diffusers import FluxTransformer2DModel

    folder = save_tiny("flux", tmp_path / "flux")
    about = FluxTransformer2DModel.load_config(folder, subfolder="transformer")
    about["num_single_layers"] = 0
    torch.manual_seed(0)
    network = FluxTransformer2DModel.from_config(about)
    network.register_to_config(sample_size=8)
    network.save_pretrained(folder / "transformer")
    base = load(folder, device="cpu")
    concept = lora(base, rex)
    done = export(concept, base, tmp_path / "out", to="kohya")
    painter = pipeline(folder)
    painter.load_lora_weights(done.files[0])
    assert alike(theirs(painter, base, PLACE.format(prompt_of(concept, base))), ours(base, concept))


@pytest.mark.parametrize("family", ["sd", "sdxl", "sd3", "flux"])
@pytest.mark.parametrize("to", ["diffusers", "kohya", "comfyui", "a1111"])
def test_a_lora_comes_back_to_the_bit(
    bases: dict[str, Any], rex: Subject, tmp_path: Path, family: str, to: str, proves: Any
) -> None:
    proves("formats", f"LoRA, {to}", "in", "import, then export, equal to the bit (SD, SDXL, SD 3, FLUX)")
    base, concept = bases[family], lora(bases[family], rex)
    done = export(concept, base, tmp_path, to=to)
    back = import_file(done.files[0], base)
    assert back.concept is not None
    assert back.report.whole
    own = {name: tensor for name, tensor in back.concept.tensors.items() if not name.endswith(".alpha")}
    assert own.keys() == concept.tensors.keys()
    assert all(torch.equal(own[name], concept.tensors[name]) for name in own)
    assert back.concept.handle == "<rex>"
    assert ours(base, back.concept).tobytes() == ours(base, concept).tobytes()
    again = export(back.concept, base, tmp_path / "again", to=to)
    first, second = load_file(done.files[0]), load_file(again.files[0])
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_kohya_file_says_what_it_is(bases: dict[str, Any], rex: Subject, tmp_path: Path) -> None:
    from safetensors import safe_open

    done = export(lora(bases["sdxl"], rex), bases["sdxl"], tmp_path, to="kohya")
    with safe_open(done.files[0], framework="pt") as file:
        about = file.metadata()
    assert (about["ss_network_module"], about["ss_network_dim"], about["ss_base_model_version"]) == (
        "networks.lora", "3", "sdxl_base_v1-0",
    )  # fmt: skip
    assert about["modelspec.architecture"] == "stable-diffusion-xl-v1-base/lora"
    assert about["modelspec.trigger_phrase"].endswith("dog")


def test_ranks_and_alphas_of_their_own_layer_by_layer(
    bases: dict[str, Any], folders: dict[str, Path], tmp_path: Path
) -> None:
    """A file with another rank in each layer, as pruned ones have, is painted as diffusers paints it."""
    base, made = bases["sd"], stream(0, "made")
    tensors: dict[str, Tensor] = {}
    stems = [
        (stem, targets[0].layer) for stem, targets in table(base, "kohya").items() if stem.endswith(("_to_q", "_to_v"))
    ]
    for rank, (stem, layer) in enumerate(stems, 2):
        weight = base.module("denoiser").get_submodule(layer.removeprefix("denoiser.")).weight
        tensors[f"{stem}.lora_down.weight"] = torch.randn(rank, weight.shape[1], generator=made)
        tensors[f"{stem}.lora_up.weight"] = torch.randn(weight.shape[0], rank, generator=made)
        tensors[f"{stem}.alpha"] = torch.tensor(2.0)
    path = tmp_path / "their-lora.safetensors"
    save_file(tensors, path)
    back = import_file(path, base, name="rex", says="a rex dog")
    painter = pipeline(folders["sd"])
    painter.load_lora_weights(path)
    assert back.concept is not None
    assert alike(theirs(painter, base, PLACE.format("a rex dog")), ours(base, back.concept))


def test_every_layer_has_its_own_alpha(bases: dict[str, Any], tmp_path: Path) -> None:
    """alpha / rank of each layer, written out here: diffusers 0.42 gives the first layer's alpha to all."""
    base, made = bases["sd"], stream(0, "made")
    stems = [stem for stem in table(base, "kohya") if stem.endswith("_to_q")][:2]
    tensors: dict[str, Tensor] = {}
    expected: dict[Any, Tensor] = {}
    for alpha, stem in enumerate(stems, 1):
        (target,) = table(base, "kohya")[stem]
        module = base.module("denoiser").get_submodule(target.layer.removeprefix("denoiser."))
        down, up = (
            torch.randn(4, module.in_features, generator=made),
            torch.randn(module.out_features, 4, generator=made),
        )
        tensors |= {
            f"{stem}.lora_down.weight": down,
            f"{stem}.lora_up.weight": up,
            f"{stem}.alpha": torch.tensor(float(alpha)),
        }
        expected[module] = module.weight + alpha / 4 * up @ down
    save_file(tensors, tmp_path / "alphas.safetensors")
    concept = import_file(tmp_path / "alphas.safetensors", base, name="rex").concept
    assert concept is not None
    with attach(base, (adapter_of(concept, base),)):
        for module, weight in expected.items():
            assert torch.allclose(module(torch.eye(module.in_features)).T, weight, atol=1e-5)


def test_the_text_towers_lora_is_read(bases: dict[str, Any], folders: dict[str, Path], tmp_path: Path) -> None:
    made, wide = stream(1, "made"), 32
    tensors = {}
    for layer, part in itertools.product(range(2), ("q_proj", "k_proj", "v_proj", "out_proj")):
        stem = f"lora_te_text_model_encoder_layers_{layer}_self_attn_{part}"
        tensors[f"{stem}.lora_down.weight"] = torch.randn(2, wide, generator=made)
        tensors[f"{stem}.lora_up.weight"] = torch.randn(wide, 2, generator=made)
        tensors[f"{stem}.alpha"] = torch.tensor(2.0)
    unet = next(stem for stem in table(bases["sd"], "kohya") if stem.endswith("attn1_to_q"))
    tensors |= {f"{unet}.lora_down.weight": torch.zeros(2, 16), f"{unet}.lora_up.weight": torch.zeros(16, 2)}
    path = tmp_path / "te.safetensors"
    save_file(tensors, path)
    base = bases["sd"]
    back = import_file(path, base, name="rex", says="dog")
    painter = pipeline(folders["sd"])
    painter.load_lora_weights(path)
    assert back.concept is not None
    assert alike(theirs(painter, base, PLACE.format("dog")), ours(base, back.concept))
    done = export(back.concept, base, tmp_path / "out", to="diffusers")
    painter = pipeline(folders["sd"])
    painter.load_lora_weights(done.files[0])
    assert alike(theirs(painter, base, PLACE.format("dog")), ours(base, back.concept))


def test_diffusers_first_keys_are_read(bases: dict[str, Any], rex: Subject, tmp_path: Path) -> None:
    base, concept = bases["sd"], lora(bases["sd"], rex)
    tensors = {}
    for name, tensor in concept.tensors.items():
        layer, _, end = name.removeprefix("low_rank.denoiser.").rpartition(".")
        stem = layer.replace(".to_out.0", ".to_out")
        at, _, last = stem.rpartition(".")
        tensors[f"unet.{at}.processor.{last}_lora.{end}.weight"] = tensor
    save_file(tensors, tmp_path / "old.safetensors")
    back = import_file(tmp_path / "old.safetensors", base, name="rex")
    assert back.report.whole
    assert all(torch.equal(back.concept.tensors[n], t) for n, t in concept.tensors.items())  # type: ignore[union-attr]


# -------------------------------------------------------------------------------------------------------------- LyCORIS


@pytest.mark.parametrize("method", ["lycoris_loha", "lycoris_lokr"])
def test_lycoris_changes_come_back(
    bases: dict[str, Any], rex: Subject, tmp_path: Path, method: str, proves: Any
) -> None:
    proves("formats", "LoHa and LoKr, kohya", "out", "read back, paints the same")
    base, concept = bases["sd"], taught(bases["sd"], rex, method)
    done = export(concept, base, tmp_path, to="kohya")
    back = import_file(done.files[0], base)
    assert back.concept is not None
    assert alike(ours(base, back.concept), ours(base, concept), most=0)
    assert not alike(ours(base, concept), limner.paint(base, PLACE.format("dog"), seed=4, settings=HOW)[0].image)
    with pytest.raises(InputError, match="export to kohya"):
        export(concept, base, tmp_path / "other", to="diffusers")


def test_a_lycoris_file_changes_a_layer_as_lycoris_says(bases: dict[str, Any], tmp_path: Path, proves: Any) -> None:
    """alpha / rank (w1_a w1_b) * (w2_a w2_b), and the Kronecker product of w1 and w2_a w2_b, written out here."""
    proves("formats", "LoHa and LoKr, kohya", "in", "the published products, written out")
    base, made = bases["sd"], stream(2, "made")
    stems = [stem for stem, _ in table(base, "kohya").items() if stem.endswith("_to_q")][:2]
    layers = [table(base, "kohya")[stem][0].layer for stem in stems]
    weights = [base.module("denoiser").get_parameter(layer.removeprefix("denoiser.") + ".weight") for layer in layers]
    (high, wide), rank = weights[0].shape, 2
    loha = [torch.randn(*shape, generator=made) for shape in ((high, rank), (rank, wide)) * 2]
    tensors = {f"{stems[0]}.hada_w{i}_{x}": loha[2 * (i - 1) + "ab".index(x)] for i in (1, 2) for x in "ab"}
    tensors[f"{stems[0]}.alpha"] = torch.tensor(1.0)
    tall, broad = weights[1].shape
    one, two_a, two_b = (torch.randn(*s, generator=made) for s in ((2, 2), (tall // 2, 3), (3, broad // 2)))
    tensors |= {f"{stems[1]}.lokr_w1": one, f"{stems[1]}.lokr_w2_a": two_a, f"{stems[1]}.lokr_w2_b": two_b}
    save_file(tensors, tmp_path / "ly.safetensors")
    back = import_file(tmp_path / "ly.safetensors", base, name="rex")
    seen: dict[str, Tensor] = {}
    with attach(base, (adapter_of(cast(limner.Concept, back.concept), base),)):
        for layer in layers:
            module = base.module("denoiser").get_submodule(layer.removeprefix("denoiser."))
            eye = torch.eye(module.in_features)
            seen[layer] = module(eye).T - (0 if module.bias is None else module.bias[:, None])
    expected = [(loha[0] @ loha[1]) * (loha[2] @ loha[3]) / rank, torch.kron(one, two_a @ two_b)]
    for layer, weight, delta in zip(layers, weights, expected, strict=True):
        assert torch.allclose(seen[layer], weight + delta, atol=1e-4)


# ---------------------------------------------------------------------------------------------------------------- words


@pytest.mark.parametrize("to", ["diffusers", "a1111"])
def test_diffusers_loads_our_word(
    bases: dict[str, Any], folders: dict[str, Path], rex: Subject, tmp_path: Path, to: str, proves: Any
) -> None:
    proves("formats", f"word, {to}", "out", "diffusers' load_textual_inversion paints the same")
    base, concept = bases["sd"], taught(bases["sd"], rex, "textual_inversion", vectors=2)
    done = export(concept, base, tmp_path, to=to)
    painter = pipeline(folders["sd"])
    painter.load_textual_inversion(done.files[0], token="<rex>")
    prompt = PLACE.format("<rex>")
    assert alike(theirs(painter, base, prompt), ours(base, concept))
    proves("formats", f"word, {to}", "in", "equal to the bit")
    back = import_file(done.files[0], base)
    assert back.what == "word"
    assert torch.equal(back.concept.tensors["word.<rex>"], concept.tensors["word.<rex>"])  # type: ignore[union-attr]
    assert ours(base, back.concept).tobytes() == ours(base, concept).tobytes()  # type: ignore[arg-type]


def test_diffusers_loads_our_word_of_sdxl(
    bases: dict[str, Any], folders: dict[str, Path], rex: Subject, tmp_path: Path, proves: Any
) -> None:
    proves("formats", "word, SDXL (clip_l, clip_g)", "out", "diffusers' load_textual_inversion paints the same")
    base, concept = bases["sdxl"], taught(bases["sdxl"], rex, "textual_inversion", vectors=1)
    done = export(concept, base, tmp_path, to="a1111")
    proves("formats", "word, SDXL (clip_l, clip_g)", "in", "equal to the bit")
    tables = load_file(done.files[0])
    assert set(tables) == {"clip_l", "clip_g"}
    painter = pipeline(folders["sdxl"])
    for key, end in (("clip_l", ""), ("clip_g", "_2")):
        about = {
            "text_encoder": getattr(painter, f"text_encoder{end}"),
            "tokenizer": getattr(painter, f"tokenizer{end}"),
        }
        painter.load_textual_inversion(tables[key], token="<rex>", **about)
    assert alike(theirs(painter, base, PLACE.format("<rex>")), ours(base, concept))
    back = import_file(done.files[0], base)
    assert torch.equal(back.concept.tensors["word.<rex>"], concept.tensors["word.<rex>"])  # type: ignore[union-attr]


@pytest.mark.parametrize("layout", ["a1111", "diffusers"])
def test_old_embeddings_are_read_as_tensors_alone(
    bases: dict[str, Any], tmp_path: Path, layout: str, proves: Any
) -> None:
    proves("formats", "word, .pt of A1111 and diffusers", "in", "as tensors alone; a pickle that runs code is refused")
    vectors = torch.randn(2, 32)
    path = tmp_path / "Old Word.pt"
    kept = {"string_to_token": {"*": 265}, "string_to_param": {"*": vectors}, "name": "old", "step": 3}
    torch.save(kept if layout == "a1111" else {"<old>": vectors}, path)
    back = import_file(path, bases["sd"])
    assert back.concept is not None
    assert back.concept.handle == ("<old-word>" if layout == "a1111" else "<old>")  # diffusers' file says its word
    assert torch.equal(back.concept.tensors[f"word.{back.concept.handle}"], vectors)


class _Trap:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return (Path.touch, (Path("/tmp/limner-was-here"),))  # type: ignore[return-value]


def test_a_pickle_that_runs_code_is_not_opened(bases: dict[str, Any], tmp_path: Path) -> None:
    Path("/tmp/limner-was-here").unlink(missing_ok=True)
    torch.save({"string_to_param": {"*": _Trap()}}, tmp_path / "trap.pt")
    with pytest.raises(FileError, match="more than tensors"):
        import_file(tmp_path / "trap.pt", bases["sd"])
    (tmp_path / "trap.safetensors").write_bytes((tmp_path / "trap.pt").read_bytes())
    with pytest.raises(FileError, match="pickle"):
        import_file(tmp_path / "trap.safetensors", bases["sd"])
    assert not Path("/tmp/limner-was-here").exists()


# -------------------------------------------------------------------------------------- Custom Diffusion and IP-Adapter


def test_diffusers_loads_our_custom_diffusion(
    bases: dict[str, Any], folders: dict[str, Path], rex: Subject, tmp_path: Path, proves: Any
) -> None:
    proves("formats", "Custom Diffusion, diffusers", "out", "diffusers' load_attn_procs paints the same")
    base = bases["sd"]
    concept = taught(base, rex, "custom_diffusion", prior_weight=0.0)
    done = export(concept, base, tmp_path, to="diffusers")
    weights, word = sorted(done.files, key=lambda p: "custom" not in p.name)
    painter = pipeline(folders["sd"])
    painter.unet.load_attn_procs(tmp_path, weight_name=weights.name, _pipeline=painter)
    painter.load_textual_inversion(word, token="<rex>")
    assert alike(theirs(painter, base, PLACE.format(recipe_of(concept).says)), ours(base, concept))
    proves("formats", "Custom Diffusion, diffusers", "in", "equal to the bit")
    back = import_file(weights, base, name="rex", noun="dog")
    assert back.what == "custom_diffusion"
    values = {n: t for n, t in concept.tensors.items() if n.startswith("denoiser.")}
    assert all(torch.equal(back.concept.tensors[n], t) for n, t in values.items())  # type: ignore[union-attr]


@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_ip_adapters_weights_are_read_and_paint_what_diffusers_paints(
    rex: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proves: Any, family: str
) -> None:
    proves("formats", "IP-Adapter weights", "in", "diffusers' load_ip_adapter paints the same (SD, SDXL)")
    from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

    from tests.bases.families import clip_pictures

    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    folder = save_sd(tmp_path / "sd", "1.5") if family == "sd" else save_tiny(family, tmp_path / family)
    torch.manual_seed(3)
    clip_pictures(projected=16).save_pretrained(folder / "image_encoder")
    about = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "image_encoder" / "preprocessor_config.json").write_text(json.dumps(about))
    base = load(folder, device="cpu")
    recipe = methods()["ip_adapter"](rex)
    with torch.no_grad(), attach(base, (Adapter(recipe, "<rex>"),)) as adapted:
        tensors = {n: torch.randn_like(t).half().float() for n, t in adapted.tensors.items() if n != FEATURES}
    proves("formats", "IP-Adapter weights", "out", "diffusers' load_ip_adapter paints the same (SD, SDXL)")
    path = export_adapter(base, tensors, tmp_path / "ip-adapter.safetensors")
    assert any(key == "ip_adapter.1.to_k_ip.weight" for key in load_file(path))
    back = import_file(path, base)
    assert back.what == "ip_adapter"
    assert back.weights is not None
    concept = limner.learn(base, rex, method="ip_adapter")
    painter = pipeline(folder)
    painter.image_encoder = CLIPVisionModelWithProjection.from_pretrained(folder / "image_encoder")
    painter.feature_extractor = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    state: dict[str, dict[str, Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for key, tensor in load_file(path).items():
        part, _, rest = key.partition(".")
        state[part][rest] = tensor
    torch.save(state, tmp_path / "ip-adapter.bin")
    assert same(
        load_file(import_file(tmp_path / "ip-adapter.bin", base, overwrite=True).weights), load_file(back.weights)
    )  # type: ignore[arg-type]
    painter.load_ip_adapter(state, subfolder="", weight_name="")
    painter.set_ip_adapter_scale(1.0)
    embeds = concept.tensors[FEATURES].mean(0)[None, None]
    shown = theirs(
        painter, base, PLACE.format("dog"), ip_adapter_image_embeds=[torch.cat([torch.zeros_like(embeds), embeds])]
    )
    assert alike(shown, ours(base, concept))


# ------------------------------------------------------------------------------------------------------------- refusals


def test_every_key_is_accounted_for(bases: dict[str, Any], rex: Subject, tmp_path: Path) -> None:
    base, concept = bases["sd"], lora(bases["sd"], rex)
    path = export(concept, base, tmp_path, to="kohya").files[0]
    tensors = load_file(path)
    gone = next(key for key in tensors if key.endswith("lora_up.weight"))
    del tensors[gone]
    tensors["lora_unet_nowhere.lora_down.weight"] = torch.zeros(2, 2)
    tensors["lora_unet_conv_in.dora_scale"] = torch.zeros(2)
    save_file(tensors, tmp_path / "part.safetensors")
    with pytest.raises(FileError, match="2 ignored, 1 missing") as said:
        import_file(tmp_path / "part.safetensors", base)
    assert gone in str(said.value)
    back = import_file(tmp_path / "part.safetensors", base, name="rex", partial=True)
    assert len(back.report.ignored) == 2
    assert back.report.missing == [gone]
    assert back.concept is not None


def test_a_file_of_another_base_is_said_to_be_one(bases: dict[str, Any], rex: Subject, tmp_path: Path) -> None:
    path = export(lora(bases["sdxl"], rex), bases["sdxl"], tmp_path, to="kohya").files[0]
    with pytest.raises(FileError, match="Does it belong to another base"):
        import_file(path, bases["flux"])
    odd = {k: torch.zeros(2, 99) if "down" in k else t for k, t in load_file(path).items()}
    save_file(odd, tmp_path / "odd.safetensors")
    with pytest.raises(FileError, match="another base"):
        import_file(tmp_path / "odd.safetensors", bases["sdxl"])


def test_what_a_format_cannot_hold_is_refused_with_its_name(
    bases: dict[str, Any], rex: Subject, tmp_path: Path
) -> None:
    base = bases["sd"]
    with pytest.raises(InputError, match=r"svdiff.*weight\."):
        export(taught(base, rex, "svdiff", prior_weight=0.0, lr=1e-3), base, tmp_path, to="kohya")
    with pytest.raises(InputError, match="text encoders"):
        export(taught(bases["sd3"], rex, "textual_inversion", vectors=1), bases["sd3"], tmp_path, to="diffusers")
    with pytest.raises(limner.errors.UnknownName, match="kohya"):
        export(lora(base, rex), base, tmp_path, to="kohja")
    with pytest.raises(InputError, match="--rank"):
        export(taught(base, rex, "dreambooth", prior_weight=0.0, lr=1e-3), base, tmp_path, to="kohya")


def test_whole_weights_are_brought_to_a_rank_and_the_loss_is_said(
    bases: dict[str, Any], rex: Subject, tmp_path: Path
) -> None:
    base, concept = bases["sd"], taught(bases["sd"], rex, "custom_diffusion", prior_weight=0.0, lr=5e-3)
    full = export(concept, base, tmp_path / "full", to="kohya", rank=64)
    back = import_file(next(p for p in full.files if p.name == "rex.safetensors"), base, says="dog")
    assert any("rank 64" in note for note in full.notes)
    with attach(base, (adapter_of(cast(limner.Concept, back.concept), base),)) as adapted:
        assert adapted.tensors
    few = export(concept, base, tmp_path / "few", to="kohya", rank=1)
    assert "0%" not in few.notes[0]
