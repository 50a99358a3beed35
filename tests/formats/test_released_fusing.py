"""Released layouts of PhotoMaker and FastComposer, against their forward written down anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from limner.errors import FileError
from limner.formats.released_fusing import read_fastcomposer, read_photomaker
from limner.parts.fusion.fused_words import fuse

WIDE, POOLED = 10, 8


class _Perceptron(nn.Module):
    """Norm, two layers with GELU between, and perhaps a residual."""

    def __init__(self, into: int, *, residual: bool) -> None:
        super().__init__()
        self.layernorm, self.fc1, self.fc2 = nn.LayerNorm(into), nn.Linear(into, WIDE), nn.Linear(WIDE, WIDE)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.fc2(F.gelu(self.fc1(self.layernorm(x))))
        return found + x if self.residual else found


class _Encoder(nn.Module):
    """The identity encoder of the first version: CLIP's pooled output, projected twice, then merged with states."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        config = CLIPVisionConfig(
            hidden_size=POOLED,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=8,
            patch_size=4,
        )
        self.vision_model: Any = CLIPVisionModelWithProjection(config).vision_model
        self.visual_projection = nn.Linear(POOLED, 4, bias=False)
        self.visual_projection_2 = nn.Linear(POOLED, 6, bias=False)
        self.fuse_module = nn.ModuleDict(
            {
                "mlp1": _Perceptron(2 * WIDE, residual=False),
                "mlp2": _Perceptron(WIDE, residual=True),
                "layer_norm": nn.LayerNorm(WIDE),
            }
        )

    def forward(self, pixels: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        pooled = self.vision_model(pixels)[1]
        image = torch.cat([self.visual_projection(pooled), self.visual_projection_2(pooled)], -1)
        x = self.fuse_module["mlp1"](torch.cat([states, image], -1)) + states
        return pooled, self.fuse_module["layer_norm"](self.fuse_module["mlp2"](x))


@pytest.fixture(scope="module")
def encoder() -> _Encoder:
    made = _Encoder().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())))
    return made


def written(encoder: _Encoder, path: Path, **changed: Tensor) -> Path:
    state = {n: t.clone() for n, t in encoder.state_dict().items() if not n.endswith("position_ids")} | changed
    lora = {"unet.a.to_q_lora.down.weight": torch.zeros(2, 3)}
    if path.suffix == ".bin":
        torch.save({"id_encoder": state, "lora_weights": lora}, path)
    else:
        named = {f"id_encoder.{n}": t for n, t in state.items()} | {f"lora_weights.{n}": t for n, t in lora.items()}
        save_file(named, path)
    return path


@pytest.mark.parametrize("suffix", [".bin", ".safetensors"])
def test_what_is_read_merges_as_the_release_does(encoder: _Encoder, tmp_path: Path, suffix: str) -> None:
    found = read_photomaker(written(encoder, tmp_path / f"photomaker-v1{suffix}"))
    pixels, states = torch.randn(3, 3, 8, 8), torch.randn(3, WIDE)
    with torch.no_grad():
        pooled, merged = encoder(pixels, states)
    assert torch.allclose(fuse(found.fusing, states, pooled), merged, atol=1e-5)
    assert list(found.denoiser) == ["unet.a.to_q_lora.down.weight"]
    assert found.tower.keys() == {n for n in encoder.state_dict() if n.startswith("vision_model.")} - {
        "vision_model.embeddings.position_ids"
    }


def test_other_files_are_said_to_be_none(encoder: _Encoder, tmp_path: Path) -> None:
    for number, (changed, message) in enumerate(
        (
            (
                {"qformer_perceiver.weight": torch.zeros(1)},
                "no PhotoMaker of the first version: it has qformer",
            ),
            ({"visual_projection.weight": torch.zeros(5, POOLED)}, "its projections are"),
        )
    ):
        path = written(encoder, tmp_path / f"{number}.safetensors", **changed)
        with pytest.raises(FileError, match=message):
            read_photomaker(path)
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(FileError, match="no PhotoMaker: expected 'id_encoder'"):
        read_photomaker(tmp_path / "other.safetensors")
    torch.save({"id_encoder": {"fuse_module.mlp1.fc1.weight": torch.zeros(1)}}, tmp_path / "part.bin")
    with pytest.raises(FileError, match="lacks fuse_module"):
        read_photomaker(tmp_path / "part.bin")


class _FastComposer(nn.Module):
    """The parts that merge a picture into a word."""

    def __init__(self, encoder: _Encoder) -> None:
        super().__init__()
        self.image_encoder = nn.Module()
        self.image_encoder.vision_model = encoder.vision_model
        self.image_encoder.visual_projection = nn.Linear(POOLED, WIDE, bias=False)
        self.postfuse_module = encoder.fuse_module
        self.unet = nn.Linear(2, 2)

    def forward(self, pixels: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        encoder: Any = self.image_encoder
        parts: Any = self.postfuse_module
        pooled: Tensor = encoder.vision_model(pixels)[1]
        image = encoder.visual_projection(pooled)
        x = parts["mlp1"](torch.cat([states, image], -1)) + states
        return pooled, parts["layer_norm"](parts["mlp2"](x))


def test_fastcomposers_file_merges_as_it_does(encoder: _Encoder, tmp_path: Path) -> None:
    model = _FastComposer(encoder)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    found = read_fastcomposer(tmp_path / "pytorch_model.bin")
    pixels, states = torch.randn(3, 3, 8, 8), torch.randn(3, WIDE)
    with torch.no_grad():
        pooled, merged = model(pixels, states)
    assert torch.allclose(fuse(found.fusing, states, pooled), merged, atol=1e-5)
    assert found.denoiser.keys() == {"weight", "bias"}
    torch.save({"unet.weight": torch.zeros(1)}, tmp_path / "other.bin")
    with pytest.raises(FileError, match="no FastComposer"):
        read_fastcomposer(tmp_path / "other.bin")


# ------------------------------------------------------------------------------------------- as weights of the methods


def tower(seed: int) -> Any:
    """A CLIP image encoder of one head, with numbers that are exact in half precision."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(
        hidden_size=64, intermediate_size=24, num_hidden_layers=2, num_attention_heads=1, image_size=16, patch_size=8,
        projection_dim=4,
    )  # fmt: skip
    torch.manual_seed(seed)
    return exact(CLIPVisionModelWithProjection(config).vision_model)


def exact(module: Any) -> Any:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_((parameter + 0.2 * torch.randn(parameter.shape)).half().float())
    return module.eval()


def perceptrons(wide: int) -> Any:
    """The fusion module: both perceptrons and the norm, with the names of both releases."""

    def perceptron(into: int) -> nn.Module:
        parts = {"layernorm": nn.LayerNorm(into), "fc1": nn.Linear(into, wide), "fc2": nn.Linear(wide, wide)}
        return nn.ModuleDict(parts)

    return exact(
        nn.ModuleDict({"mlp1": perceptron(2 * wide), "mlp2": perceptron(wide), "layer_norm": nn.LayerNorm(wide)})
    )


def merged(parts: Any, states: Tensor, image: Tensor) -> Tensor:
    """LN(MLP2(MLP1([t; i]) + t)), written down anew."""

    def run(part: Any, x: Tensor) -> Tensor:
        out: Tensor = part["fc2"](F.gelu(part["fc1"](part["layernorm"](x))))
        return out

    x = run(parts["mlp1"], torch.cat([states, image], -1)) + states
    out: Tensor = parts["layer_norm"](run(parts["mlp2"], x) + x)
    return out


def seen_by(network: Any, pixels: Tensor, mode: str) -> Tensor:
    """The pooled state of pictures in [0, 1], normalised as CLIP's are."""
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    fitted = F.interpolate(pixels, (16, 16), mode=mode, antialias=True).clamp(0, 1)
    pooled: Tensor = network((fitted - mean) / std)[1]
    return pooled


def state_of(module: Any, prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor.clone() for name, tensor in module.state_dict().items()}


def opened(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    from limner.bases.common.loading import load
    from tests.bases.families import save_tiny

    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    return load(save_tiny(family, tmp_path / family), device="cpu", faces=FACES)


FACES = f"{Path(__file__).parent.parent / 'painted_faces.py'}:networks"


@pytest.fixture
def ann() -> Any:
    from limner.core.subject import Subject
    from tests.painted_faces import photograph

    pictures = [photograph((0, 4, 8), size=(16, 16)), photograph((0, 4, 8), size=(16, 16)).rotate(5)]
    return Subject.of(pictures, noun="person", handle="ann")


def lora_of(unet: Any, rank: int = 2) -> dict[str, Tensor]:
    """A LoRA of every attention layer by the keys that diffusers' attention processors had."""
    lora = {}
    for name in unet.attn_processors:
        layer = unet.get_submodule(name.removesuffix(".processor"))
        for part, linear in (("q", layer.to_q), ("k", layer.to_k), ("v", layer.to_v), ("out", layer.to_out[0])):
            out, into = linear.weight.shape
            lora[f"unet.{name}.to_{part}_lora.down.weight"] = (0.3 * torch.randn(rank, into)).half().float()
            lora[f"unet.{name}.to_{part}_lora.up.weight"] = (0.3 * torch.randn(out, rank)).half().float()
    return lora


@torch.no_grad()
def test_a_released_photomaker_merges_and_changes_the_denoiser_as_its_own_networks_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ann: Any
) -> None:
    """The states that cross-attention reads, and a layer with its LoRA, against both written down anew."""
    import limner
    from limner.core.types import AttentionCall
    from limner.engine.attach import attach
    from limner.formats import import_file
    from limner.library.opening import adapter_of

    base = opened("sdxl", tmp_path, monkeypatch)
    unet, wide = base.module("denoiser"), base.states_shape[1]
    network, parts, lora = tower(1), perceptrons(wide), lora_of(unet)
    projections = [exact(nn.Linear(64, n, bias=False)) for n in (24, wide - 24)]
    encoder = state_of(network, "vision_model.") | state_of(parts, "fuse_module.")
    encoder |= state_of(projections[0], "visual_projection.") | state_of(projections[1], "visual_projection_2.")
    torch.save({"id_encoder": encoder, "lora_weights": lora}, tmp_path / "photomaker-v1.bin")
    found = import_file(tmp_path / "photomaker-v1.bin", base)
    assert (found.what, found.report.whole) == ("photomaker.released", True)
    concept = limner.learn(base, ann, method="photomaker", released=True, rank=2, wait=0.0)
    assert not any(name.startswith(("states.photomaker.tower", "photomaker.denoiser")) for name in concept.tensors)

    reads: list[Tensor] = []

    def note(call: AttentionCall) -> AttentionCall:
        if call.site.kind == "cross":
            reads.append(call.states)
        return call

    prompt, noised = "a photo of <ann> on the beach", torch.randn(1, *base.latent_shape)
    site = next(site for site in base.sites if site.kind == "cross")
    layer = unet.get_submodule(f"{site.name}.to_q")
    x = torch.randn(1, 4, layer.in_features)
    plain = layer(x)
    with attach(base, [adapter_of(concept, base)]) as adapted:
        run = adapted.run(time=torch.tensor([400]), prompts=(prompt,), step=0)
        run.operations += (note,)
        base.predict(noised, torch.tensor([400]), adapted.text_states([prompt]), context=run)
        changed = layer(x)
    stack = base.text_states(["a photo of person person on the beach"], words={})[0, : base.text_positions]
    places = base.word_places("a photo of <n> on the beach", "<n>", words={"<n>": torch.zeros(1, 1)})
    at = [places[0], places[0] + 1]
    pooled = seen_by(network, ann.tensor(base.picture_size), "bicubic")
    image = torch.cat([projection(pooled) for projection in projections], -1)
    wanted = stack.index_put((torch.tensor(at),), merged(parts, stack[at], image))
    assert torch.allclose(reads[0][0], wanted, atol=1e-4)
    assert not torch.allclose(stack, wanted, atol=1e-2)
    down, up = (lora[f"unet.{site.name}.processor.to_q_lora.{end}.weight"] for end in ("down", "up"))
    assert torch.allclose(changed - plain, x @ down.T @ up.T, atol=1e-4)

    encoder["qformer_perceiver.weight"] = torch.zeros(1)
    torch.save({"id_encoder": encoder, "lora_weights": lora}, tmp_path / "photomaker-v2.bin")
    with pytest.raises(FileError, match="no PhotoMaker of the first version"):
        import_file(tmp_path / "photomaker-v2.bin", base, overwrite=True)
    del encoder["qformer_perceiver.weight"], lora[f"unet.{site.name}.processor.to_q_lora.up.weight"]
    torch.save({"id_encoder": encoder, "lora_weights": lora}, tmp_path / "part.bin")
    with pytest.raises(FileError, match="cannot be read whole"):
        import_file(tmp_path / "part.bin", base, overwrite=True)


@torch.no_grad()
def test_a_released_fastcomposer_brings_its_denoiser_and_merges_as_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ann: Any
) -> None:
    """Two people with it in one prompt paint with its denoiser once, and the base comes back."""
    import copy
    from dataclasses import replace

    import limner
    from limner.core.types import AttentionCall
    from limner.engine.attach import attach
    from limner.formats import import_file
    from limner.library.opening import adapter_of
    from tests.helpers import same, state

    base = opened("stable_diffusion", tmp_path, monkeypatch)
    before, wide = state(base), base.states_shape[1]
    theirs = exact(copy.deepcopy(base.module("denoiser")))
    network, parts, projection = tower(2), perceptrons(wide), exact(nn.Linear(64, wide, bias=False))
    tensors = state_of(theirs, "unet.") | state_of(parts, "postfuse_module.")
    tensors |= state_of(network, "image_encoder.vision_model.")
    tensors |= state_of(projection, "image_encoder.visual_projection.") | {"vae.conv.weight": torch.zeros(1)}
    text = {
        f"text_encoder.{n.removeprefix('text_model.')}": t for n, t in state_of(base.module("text_encoder"), "").items()
    }
    torch.save(tensors | text, tmp_path / "pytorch_model.bin")
    found = import_file(tmp_path / "pytorch_model.bin", base)
    assert (found.what, found.report.whole) == ("fastcomposer.released", True)
    concept = limner.learn(base, ann, method="fastcomposer", released=True, wait=0.0)
    assert not any(name.startswith("denoiser.") for name in concept.tensors)
    other = limner.learn(base, replace(ann, handle="<bo>"), method="fastcomposer", released=True, wait=0.0)

    reads: list[Tensor] = []

    def note(call: AttentionCall) -> AttentionCall:
        if call.site.kind == "cross":
            reads.append(call.states)
        return call

    prompt, noised = "a photo of <ann> on the beach", torch.randn(1, *base.latent_shape)
    with attach(base, [adapter_of(concept, base), adapter_of(other, base)]) as adapted:
        for name, tensor in base.module("denoiser").state_dict().items():
            assert torch.equal(tensor, theirs.state_dict()[name])
        run = adapted.run(time=torch.tensor([400]), prompts=(prompt,), step=0)
        run.operations += (note,)
        base.predict(noised, torch.tensor([400]), adapted.text_states([prompt]), context=run)
    assert same(state(base), before)
    plain = base.text_states(["a photo of person on the beach"], words={})[0]
    place = base.word_places("a photo of <n> on the beach", "<n>", words={"<n>": torch.zeros(1, 1)})[0]
    image = projection(seen_by(network, ann.tensor(base.picture_size), "bilinear")).mean(0, keepdim=True)
    wanted = plain.index_put((torch.tensor([place]),), merged(parts, plain[place][None], image))
    assert torch.allclose(reads[0][0], wanted, atol=1e-4)
    assert limner.learn(base, ann, method="freecure", released=True).header["weights"].keys() == {
        "fastcomposer.released"
    }

    first = next(name for name in text if text[name].is_floating_point())
    torch.save({**tensors, **text, first: text[first] + 1}, tmp_path / "tuned.bin")
    with pytest.raises(FileError, match="another text encoder"):
        import_file(tmp_path / "tuned.bin", base, overwrite=True)
    with pytest.raises(FileError, match=r"limner import FILE --base …` with the file that the authors released"):
        limner.learn(base, ann, method="photomaker", released=True)
