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
