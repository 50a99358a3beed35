"""A released InstantID, in a tiny folder of its layout, computes here as its own networks do."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import Tensor, nn

from limner.bases.common.loading import load
from limner.core.subject import Subject
from limner.core.weights import shipped
from limner.engine.attach import Adapter, attach
from limner.errors import FileError
from limner.formats import import_file
from limner.methods import methods
from limner.parts.fusion.decoupled_cross_attention import STATES
from tests.bases.families import save_tiny
from tests.painted_faces import photograph

FACES = f"{Path(__file__).parent.parent / 'painted_faces.py'}:networks"
TOKENS, WIDTH, LAYERS, FACE = 16, 32, 2, 3
SETTINGS: dict[str, Any] = {"tokens": TOKENS, "width": WIDTH, "layers": LAYERS}


class Attention(nn.Module):
    """Latents attend to the features and themselves, four heads."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.to_q, self.to_kv = nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, 2 * WIDTH, bias=False)
        self.to_out = nn.Linear(WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor, latents: Tensor) -> Tensor:
        asked = self.norm2(latents)
        key, value = self.to_kv(torch.cat([self.norm1(x), asked], 1)).split(WIDTH, -1)
        query, key, value = (part.unflatten(-1, (4, -1)).transpose(1, 2) for part in (self.to_q(asked), key, value))
        maps = (query @ key.mT / math.sqrt(WIDTH // 4)).softmax(-1)
        out: Tensor = self.to_out((maps @ value).transpose(1, 2).flatten(2))
        return out


class Resampler(nn.Module):
    """With the names of the release."""

    def __init__(self, out: int) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(1, TOKENS, WIDTH))
        self.proj_in, self.proj_out = nn.Linear(FACE, WIDTH), nn.Linear(WIDTH, out)
        self.norm_out = nn.LayerNorm(out)
        forward = [
            nn.Sequential(
                nn.LayerNorm(WIDTH),
                nn.Linear(WIDTH, 4 * WIDTH, bias=False),
                nn.GELU(),
                nn.Linear(4 * WIDTH, WIDTH, bias=False),
            )
            for _ in range(LAYERS)
        ]
        self.layers = nn.ModuleList(nn.ModuleList([Attention(), each]) for each in forward)

    def forward(self, face: Tensor) -> Tensor:
        x, latents = self.proj_in(face[:, None]), self.latents.expand(len(face), -1, -1)
        layers: Any = self.layers
        for attention, forward in layers:
            latents = latents + attention(x, latents)
            latents = latents + forward(latents)
        found: Tensor = self.norm_out(self.proj_out(latents))
        return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("sdxl", tmp_path_factory.mktemp("base") / "sdxl")


def released(folder: Path, to: Path) -> tuple[Resampler, Any]:
    """A tiny InstantID for a base, saved as the release is; its resampler and its control network."""
    unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet")
    torch.manual_seed(1)
    network = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(16, 32))
    resampler = Resampler(int(unet.config["cross_attention_dim"]))
    with torch.no_grad():
        for parameter in (*network.parameters(), *resampler.parameters()):
            parameter.add_(0.1 * torch.randn_like(parameter))
    network.save_pretrained(to / "ControlNetModel")
    table: dict[str, Tensor] = {}
    for number, name in enumerate(unet.attn_processors):
        if name.endswith("attn2.processor"):
            layer: Any = unet.get_submodule(name.removesuffix(".processor"))
            table |= {
                f"{number}.to_{part}_ip.weight": torch.randn_like(getattr(layer, f"to_{part}").weight) for part in "kv"
            }
    torch.save({"image_proj": resampler.state_dict(), "ip_adapter": table}, to / "ip-adapter.bin")
    return resampler.half().float().eval(), network.half().float().eval()  # weights are kept in half precision


@torch.no_grad()
def test_a_release_computes_as_its_own_networks_do(folder: Path, tmp_path: Path) -> None:
    resampler, network = released(folder, tmp_path)
    base = load(folder, device="cpu", faces=FACES)
    found = import_file(tmp_path, base)
    assert found.what == "instantid"
    assert found.report.whole
    ann = Subject.of(photograph((0, 4, 8), size=(16, 16)), noun="person", handle="ann")
    adapter = Adapter(methods()["instantid"](ann, **SETTINGS), "<ann>", shipped("instantid", base))
    x, time = torch.randn(2, *base.latent_shape), torch.tensor([400, 400])
    shown = torch.rand(2, 3, 16, 16)
    about = {"text_embeds": torch.randn(2, 32), "time_ids": torch.rand(2, 6)}
    with attach(base, (adapter,)) as adapted:
        run = adapted.run(time=time, latents=x, branches=("negative", "text"), conditions={"keypoints": shown})
        (live,) = adapted.live.values()
        vectors = live.offers[STATES](run, 2)
        given = {"encoder_hidden_states": torch.zeros(2, 7, vectors.shape[-1]), "added_cond_kwargs": about}
        residuals = live.controls[0](x, time, given, run)
        face = live.tensors["image.identity.features"]
        site = next(site for site in base.sites if site.kind == "cross")
        key = live.tensors[f"image.{site.name}.key"]
    wanted = resampler(torch.cat([0 * face, face]))
    assert torch.allclose(vectors, wanted, atol=1e-4)
    skips, middle = network(
        x, time, wanted, controlnet_cond=shown, conditioning_scale=0.8, added_cond_kwargs=about, return_dict=False
    )
    assert residuals.middle is not None
    for ours, theirs in zip((*residuals.skips, residuals.middle), (*skips, middle), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-3)
    number = list(base.module("denoiser").attn_processors).index(f"{site.name}.processor")  # type: ignore[union-attr,arg-type]
    kept = torch.load(tmp_path / "ip-adapter.bin", weights_only=True)["ip_adapter"][f"{number}.to_k_ip.weight"]
    assert torch.equal(key, kept.half().float())


def test_what_is_no_release_is_refused(folder: Path, tmp_path: Path) -> None:
    released(folder, tmp_path)
    base = load(folder, device="cpu", faces=FACES)
    torch.save({"image_proj": {}, "strange": {}}, tmp_path / "ip-adapter.bin")
    with pytest.raises(FileError, match="no adapter of InstantID"):
        import_file(tmp_path, base, overwrite=True)
    torch.save({"image_proj": {}, "ip_adapter": {}}, tmp_path / "ip-adapter.bin")
    with pytest.raises(FileError, match="cannot be read whole"):
        import_file(tmp_path, base, overwrite=True)
