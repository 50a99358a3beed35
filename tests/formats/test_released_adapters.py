"""Released weights of IP-Adapter-FaceID, MS-Diffusion and SSR-Encoder, in tiny files of their layouts, compute here as
in their authors' code."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import limner
from limner.bases.common.loading import load
from limner.core.regions import region_masks
from limner.core.subject import Subject
from limner.core.weights import shipped
from limner.engine.attach import Adapter, attach
from limner.errors import FileError
from limner.formats import import_file
from limner.methods import methods
from limner.parts.fusion.decoupled_cross_attention import STATES
from tests.bases.families import save_tiny
from tests.formats.test_exchange import PLACE, alike, ours, pipeline, theirs
from tests.painted_faces import PaintedFaces, photograph

FACES = f"{Path(__file__).parent.parent / 'painted_faces.py'}:networks"
WIDTH, TOKENS, LAYERS, RANK = 32, 4, 2, 2


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("bases")
    return {name: save_tiny(name, place / name) for name in ("stable_diffusion", "sdxl")}


@pytest.fixture
def ann() -> Subject:
    return Subject.of([photograph((0, 4, 8), size=(16, 16))], noun="person", handle="ann")


def opened(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    return load(folder, device="cpu", faces=FACES)


def half(*shape: int) -> Tensor:
    """Random numbers that are exact in half precision, in which weights are kept."""
    return (0.3 * torch.randn(*shape)).half().float()


def keys_and_values(unet: Any, what: str) -> dict[str, Tensor]:
    """Random keys and values for every cross-attention layer, by its number among all attention layers."""
    table: dict[str, Tensor] = {}
    for number, name in enumerate(unet.attn_processors):
        if name.endswith("attn2.processor"):
            layer = unet.get_submodule(name.removesuffix(".processor"))
            table |= {f"{number}.to_{p}_{what}.weight": half(*getattr(layer, f"to_{p}").weight.shape) for p in "kv"}
    return table


def randomised(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(parameter + half(*parameter.shape))
    return module.half().float().eval()


# ---------------------------------------------------------------------------------------------------- IP-Adapter-FaceID


def face_id(unet: Any, features: int) -> dict[str, dict[str, Tensor]]:
    wide = int(unet.config.cross_attention_dim)
    projection = {
        "proj.0.weight": half(2 * features, features), "proj.0.bias": half(2 * features),
        "proj.2.weight": half(TOKENS * wide, 2 * features), "proj.2.bias": half(TOKENS * wide),
        "norm.weight": 1 + half(wide), "norm.bias": half(wide),
    }  # fmt: skip
    table = keys_and_values(unet, "ip")
    for number, name in enumerate(unet.attn_processors):
        layer = unet.get_submodule(name.removesuffix(".processor"))
        for part, linear in (("q", layer.to_q), ("k", layer.to_k), ("v", layer.to_v), ("out", layer.to_out[0])):
            out, into = linear.weight.shape
            table |= {
                f"{number}.to_{part}_lora.down.weight": half(RANK, into),
                f"{number}.to_{part}_lora.up.weight": half(out, RANK),
            }
    return {"image_proj": {n: t.half().float() for n, t in projection.items()}, "ip_adapter": table}


@pytest.mark.parametrize("family", ["stable_diffusion", "sdxl"])
def test_a_face_id_paints_what_diffusers_paints(
    folders: dict[str, Path], ann: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    base = opened(folders[family], tmp_path, monkeypatch)
    painter = pipeline(folders[family])
    torch.manual_seed(5)
    seen = PaintedFaces().embed(ann.tensor(base.picture_size)).mean(0)
    state = face_id(painter.unet, len(seen))
    torch.save(state, tmp_path / "ip-adapter-faceid.bin")
    found = import_file(tmp_path / "ip-adapter-faceid.bin", base)
    assert (found.what, found.report.whole) == ("ip_adapter.face", True)
    concept = limner.learn(base, ann, method="ip_adapter", sees="face", rank=RANK)
    painter.load_ip_adapter(state, subfolder="", weight_name="", image_encoder_folder=None)
    painter.set_ip_adapter_scale(1.0)
    embeds = torch.stack([torch.zeros_like(seen), seen])[:, None]
    shown = theirs(painter, base, PLACE.format("person"), ip_adapter_image_embeds=[embeds])
    assert alike(shown, ours(base, concept, PLACE.format("<ann>")))
    plain = limner.paint(base, PLACE.format("person"), seed=4, settings=limner.PaintSettings(steps=3))[0]
    assert not alike(shown, plain.image, most=8)


def test_face_ids_of_other_kinds_are_refused(
    folders: dict[str, Path], ann: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = opened(folders["stable_diffusion"], tmp_path, monkeypatch)
    state = face_id(base.module("denoiser"), 3)
    state["image_proj"]["perceiver_resampler.proj_in.weight"] = half(2, 2)
    torch.save(state, tmp_path / "plus.bin")
    with pytest.raises(FileError, match="FaceID Plus, which reads CLIP beside the face"):
        import_file(tmp_path / "plus.bin", base)
    del state["image_proj"]["perceiver_resampler.proj_in.weight"], state["ip_adapter"]["0.to_q_lora.up.weight"]
    torch.save(state, tmp_path / "part.bin")
    with pytest.raises(FileError, match="cannot be read whole"):
        import_file(tmp_path / "part.bin", base)
    with pytest.raises(FileError, match="limner pretrain ip_adapter --base …` with the same settings"):
        limner.learn(base, ann, method="ip_adapter", sees="face")


# --------------------------------------------------------------------------------------------------------- MS-Diffusion


class _Attention(nn.Module):
    """Latents attend to the patches and themselves, four heads."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.to_q, self.to_kv = nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, 2 * WIDTH, bias=False)
        self.to_out = nn.Linear(WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor, latents: Tensor) -> Tensor:
        asked = self.norm2(latents)
        key, value = self.to_kv(torch.cat([self.norm1(x), asked], 1)).chunk(2, -1)
        query, key, value = (y.unflatten(-1, (4, -1)).transpose(1, 2) for y in (self.to_q(asked), key, value))
        maps = (query @ key.mT / math.sqrt(WIDTH // 4)).softmax(-1)
        out: Tensor = self.to_out((maps @ value).transpose(1, 2).flatten(2))
        return out


class _Grounding(nn.Module):
    """The grounding resampler, with the names of the release."""

    def __init__(self, patches: int, phrase: int, out: int) -> None:
        super().__init__()
        self.grounding_latents = nn.Parameter(torch.randn(1, TOKENS, WIDTH))
        into = phrase + 8 * 2 * 4
        self.latent_proj = nn.Sequential(nn.Linear(into, 2 * into), nn.GELU(), nn.Linear(2 * into, TOKENS * WIDTH))
        self.latent_norm, self.attention_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.proj_in, self.proj_out = nn.Linear(patches, WIDTH), nn.Linear(WIDTH, out)
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
        self.layers = nn.ModuleList(nn.ModuleList([_Attention(), each]) for each in forward)

    def forward(self, patches: Tensor, phrase: Tensor, box: Tensor | None) -> Tensor:
        """Features of a box run over frequencies first, then sine and cosine, then edges."""
        latents = self.grounding_latents.expand(len(patches), -1, -1)
        if box is not None:
            angles = (100 ** (torch.arange(8) / 8))[:, None] * box[:, None]  # [B, 8, 4]
            about = torch.cat([phrase, torch.stack([angles.sin(), angles.cos()], 2).flatten(1)], -1)
            latents = self.latent_norm(self.latent_proj(about).view(-1, TOKENS, WIDTH))
        x, layers = self.proj_in(patches), self.layers
        each: Any
        for each in layers:
            latents = latents + each[0](x, latents)
            latents = latents + each[1](latents)
        found: Tensor = self.norm_out(self.proj_out(self.attention_norm(latents)))
        return found


@torch.no_grad()
def test_a_released_ms_diffusion_computes_as_its_own_networks_do(
    folders: dict[str, Path], ann: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = opened(folders["sdxl"], tmp_path, monkeypatch)
    unet: Any = base.module("denoiser")
    phrase = base.phrase_features(["person"])
    torch.manual_seed(6)
    network: Any = randomised(_Grounding(16, phrase.shape[1], int(unet.config.cross_attention_dim)))
    state = {"image_proj": network.state_dict(), "ms_adapter": keys_and_values(unet, "ip")}
    dummy = {"dummy_image_tokens": half(1, 4, int(unet.config.cross_attention_dim))}
    torch.save(state | dummy, tmp_path / "ms_adapter.bin")
    found = import_file(tmp_path / "ms_adapter.bin", base)
    assert (found.what, found.report.whole) == ("ms_diffusion", True)
    recipe = methods()["ms_diffusion"](ann, tokens=TOKENS, layers=LAYERS, width=WIDTH)
    clip = base._looked_at(ann.tensor(base.picture_size), output_hidden_states=True).hidden_states[-2]
    regions = region_masks({"ann": (0.25, 0.5, 1, 1)}, handles=["<ann>"], size=base.latent_shape[1:])
    with attach(base, (Adapter(recipe, "<ann>", shipped("ms_diffusion", base)),)) as adapted:
        live = next(live for live in adapted.live.values() if STATES in live.offers)
        states = []
        for where in (regions, {}):
            run = adapted.run(time=torch.tensor([400, 400]), branches=("negative", "text"))
            run.regions = where
            states.append(live.offers[STATES](run, 2))
        site = next(site for site in base.sites if site.kind == "cross")
        key = live.tensors[f"image.{site.name}.key"]
    box = torch.tensor([[0.25, 0.5, 1, 1]])
    for own, wanted in zip(states, (network(clip, phrase, box), network(clip, phrase, None)), strict=True):
        assert torch.allclose(own[1:], wanted, atol=1e-4)
        assert not own[0].any()  # the release has zeros there, too
    number = list(unet.attn_processors).index(f"{site.name}.processor")
    assert torch.equal(key, state["ms_adapter"][f"{number}.to_k_ip.weight"])


# ---------------------------------------------------------------------------------------------------------- SSR-Encoder


HEADS, INNER = 2, 16


class _Aligner(nn.Module):
    """Token-to-patch attention with values and outputs of six depths, with the names of the release."""

    def __init__(self, text: int, patches: int) -> None:
        super().__init__()
        self.aligner = nn.Module()
        self.aligner.to_q = nn.Linear(text, INNER, bias=False)
        self.aligner.to_k = nn.Linear(patches, INNER, bias=False)
        self.aligner.processor = nn.Module()
        self.aligner.processor.to_v = nn.ModuleList(nn.Linear(patches, INNER, bias=False) for _ in range(6))
        self.aligner.processor.to_out = nn.ModuleList(nn.Linear(INNER, text, bias=False) for _ in range(6))
        self.norm = nn.LayerNorm(text)

    def forward(self, text: Tensor, depths: list[Tensor]) -> Tensor:
        aligner: Any = self.aligner
        query, key = (
            x.unflatten(-1, (HEADS, -1)).transpose(1, 2) for x in (aligner.to_q(text), aligner.to_k(depths[-1]))
        )
        outputs = []
        for k, z in enumerate(depths):
            value = aligner.processor.to_v[k](z).unflatten(-1, (HEADS, -1)).transpose(1, 2)
            read = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
            outputs.append(aligner.processor.to_out[k](read))
        found: Tensor = self.norm(torch.cat(outputs, 1))
        return found


@torch.no_grad()
def test_a_released_ssr_encoder_selects_as_its_own_aligner_does(
    folders: dict[str, Path], ann: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = opened(folders["stable_diffusion"], tmp_path, monkeypatch)
    text = base.text_states(["person"], words={})
    torch.manual_seed(7)
    aligner: Any = randomised(_Aligner(text.shape[2], 16))
    layers = keys_and_values(base.module("denoiser"), "SSR")
    torch.save(aligner.state_dict(), tmp_path / "pytorch_model.bin")
    torch.save(layers, tmp_path / "pytorch_model_1.bin")
    found = import_file(tmp_path, base)
    assert (found.what, found.report.whole) == ("ssr_encoder", True)
    recipe = methods()["ssr_encoder"](ann, width=INNER, released_heads=HEADS)
    hidden = base._looked_at(ann.tensor(base.picture_size), output_hidden_states=True).hidden_states
    # sixths of the encoder's depth, from the first to the whole: every fourth layer of 24
    wanted = aligner(text, [hidden[int((len(hidden) - 1) * k / 6 + 1e-6)] for k in range(1, 7)])
    with attach(base, (Adapter(recipe, "<ann>", shipped("ssr_encoder", base)),)) as adapted:
        (live,) = adapted.live.values()
        states = live.offers[STATES](adapted.run(time=torch.tensor([400])), 1)
        site = next(site for site in base.sites if site.kind == "cross")
        value = live.tensors[f"image.{site.name}.value"]
    length = text.shape[1]
    parts = list(wanted.split(length, 1))
    assert torch.allclose(states, torch.cat([parts[-1], *parts[:-1]], 1), atol=1e-4)  # the whole depth comes first here
    number = list(base.module("denoiser").attn_processors).index(f"{site.name}.processor")  # type: ignore[union-attr,arg-type]
    assert torch.equal(value, layers[f"{number}.to_v_SSR.weight"])
    torch.save({"strange": half(2)}, tmp_path / "pytorch_model.bin")
    torch.save({"strange": half(2)}, tmp_path / "pytorch_model_1.bin")
    with pytest.raises(FileError, match="no SSR-Encoder"):
        import_file(tmp_path, base, overwrite=True)
