"""Stable Diffusion 1.x and 2.x, and everything of their shape: the pocket base is one of them.

One CLIP text tower, a KL autoencoder (or a tiny one), a UNet with cross-attention, noise or velocity as its prediction.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, AutoencoderTiny, DDIMScheduler, DDPMScheduler, UNet2DConditionModel
from diffusers import DPMSolverMultistepScheduler as DPMSolver
from torch import Tensor, nn

from limner.errors import InputError, UnknownName

from .attention import Pass, Site, host_sites
from .quiet import quiet
from .text import TextAttention, text_states, token_ids

FAMILY = "stable_diffusion"
SCHEDULERS: dict[str, Any] = {"ddim": DDIMScheduler, "ddpm": DDPMScheduler, "dpm": DPMSolver}


class StableDiffusion:
    """A pipeline of this family behind the seam. Takes the four networks as diffusers and transformers load them."""

    family = FAMILY

    def __init__(
        self,
        name: str,
        *,
        unet: UNet2DConditionModel,
        vae: Any,
        text_encoder: Any,
        tokenizer: Any,
        scheduler: Any,
        image_encoder: Path | None = None,
    ) -> None:
        self.name = name
        self.image_encoder = image_encoder  # folder of a CLIP whose picture tower encoders may use
        self.denoiser, self.autoencoder, self.text_encoder = unet, vae, text_encoder
        self.tokenizer = tokenizer
        self.schedule = DDPMScheduler.from_config(scheduler.config)
        self.sites = host_sites(unet)
        for network in (unet, vae, text_encoder):
            network.requires_grad_(False).eval()

    # ---------------------------------------------------------------------------------------------------- what it is

    @property
    def device(self) -> torch.device:
        return self.denoiser.device

    @property
    def dtype(self) -> torch.dtype:
        return self.denoiser.dtype

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of names, shapes and evenly spaced values of every weight, the same in half and single precision."""
        digest = hashlib.sha256()
        for part in ("denoiser", "autoencoder", "text_encoder"):
            for name, tensor in self.module(part).state_dict().items():
                values = tensor.flatten()[:: max(1, tensor.numel() // 64)].to(torch.float16).cpu().numpy().tobytes()
                digest.update(f"{part}.{name}{tuple(tensor.shape)}".encode() + values)
        return digest.hexdigest()[:16]

    @property
    def picture_size(self) -> int:
        return int(self.denoiser.config.sample_size) * self._factor

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        size = int(self.denoiser.config.sample_size)
        return int(self.denoiser.config.in_channels), size, size

    @functools.cached_property
    def vocabulary(self) -> frozenset[str]:
        return frozenset(token.removesuffix("</w>") for token in self.tokenizer.get_vocab() if token.endswith("</w>"))

    @functools.cached_property
    def rare_words(self) -> tuple[str, ...]:
        """Words that mean little: those a base names itself in its tokenizer's folder, else DreamBooth's customary ones."""
        named = self.tokenizer.init_kwargs.get("rare_words", ())
        return tuple(named) or tuple(word for word in ("sks", "ktn", "olis", "pll", "ohwx") if word in self.vocabulary)

    @property
    def max_tokens(self) -> int:
        return int(self.tokenizer.model_max_length) - 2

    @property
    def _factor(self) -> int:
        if isinstance(self.autoencoder, AutoencoderTiny):
            return 2 ** (len(self.autoencoder.config.encoder_block_out_channels) - 1)
        return 2 ** (len(self.autoencoder.config.block_out_channels) - 1)

    # -------------------------------------------------------------------------------------------- pictures and words

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 3, H, W] in [0, 1] -> mean and standard deviation of the scaled latents, each [B, C, h, w]."""
        encoded = self.autoencoder.encode((2 * pixels - 1).to(self.device, self.autoencoder.dtype))
        if isinstance(self.autoencoder, AutoencoderTiny):
            return encoded.latents, torch.zeros_like(encoded.latents)
        scale, shift = self._scaling
        posterior = encoded.latent_dist
        return (posterior.mean - shift) * scale, posterior.std * scale

    def decode(self, latents: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, 3, H, W] in [0, 1]"""
        scale, shift = self._scaling
        pixels = self.autoencoder.decode((latents / scale + shift).to(self.autoencoder.dtype)).sample
        return (pixels / 2 + 0.5).clamp(0, 1)

    def picture_features(self, pixels: Tensor) -> Tensor:
        """[B, 3, H, W] in [0, 1] -> global CLIP embeddings [B, D]. Raises `InputError` for a base without a picture tower."""
        embeds: Tensor = self._looked_at(pixels).image_embeds
        return embeds

    def picture_states(self, pixels: Tensor) -> Tensor:
        """[B, 3, H, W] in [0, 1] -> [B, L, D]: the places' states at a third, two thirds and all of CLIP's depth."""
        states = self._looked_at(pixels, output_hidden_states=True).hidden_states
        return torch.cat([states[(len(states) - 1) * part // 3] for part in (1, 2, 3)], 1)

    def _looked_at(self, pixels: Tensor, **more: Any) -> Any:
        tower, size, mean, std = self._picture_tower
        inputs = F.interpolate(pixels.to(self.device, self.dtype), (size, size), mode="bicubic", antialias=True)
        return tower(((inputs.clamp(0, 1) - mean) / std).to(self.dtype), **more)

    @functools.cached_property
    def _picture_tower(self) -> tuple[Any, int, Tensor, Tensor]:
        from transformers import CLIPVisionModelWithProjection

        if self.image_encoder is None or not self.image_encoder.is_dir():
            raise InputError(
                f"{self.name} has no picture tower, which this method looks through: put a CLIP (with its "
                "preprocessor_config.json) into the base's folder as image_encoder/"
            )
        with quiet():
            tower = CLIPVisionModelWithProjection.from_pretrained(self.image_encoder, dtype=self.dtype)
        about = json.loads((self.image_encoder / "preprocessor_config.json").read_text())
        mean, std = (torch.tensor(about[k], device=self.device).view(1, 3, 1, 1) for k in ("image_mean", "image_std"))
        return tower.to(self.device).requires_grad_(False).eval(), int(tower.config.image_size), mean, std

    def text_features(self, prompts: Sequence[str], *, words: Mapping[str, Tensor]) -> Tensor:
        """[B, D]: global CLIP embeddings of texts, comparable with those of pictures: the state at the end token, projected.
        Raises `InputError` where the picture tower is not of a whole CLIP."""
        states = text_states(self.tokenizer, self.text_encoder, prompts, words=words)
        ends = [1 + self.num_tokens(prompt, words=words) for prompt in prompts]
        at = torch.arange(len(ends), device=states.device), torch.tensor(ends, device=states.device)
        return F.linear(states[at], self._text_projection.to(states))

    @functools.cached_property
    def _text_projection(self) -> Tensor:
        from safetensors import safe_open

        name, folder = "text_projection.weight", self.image_encoder
        files = sorted(folder.glob("*.safetensors")) if folder is not None else []
        for file in files:
            with safe_open(file, framework="pt") as tensors:
                if name in tensors.keys():  # noqa: SIM118 - not a mapping
                    found: Tensor = tensors.get_tensor(name)
                    return found.to(self.device)
        raise InputError(
            f"{self.name} cannot compare texts with pictures, which this method does: put the whole CLIP that its text tower "
            "is of into the base's folder as image_encoder/"
        )

    @property
    def _scaling(self) -> tuple[float, float]:
        config = self.autoencoder.config
        tiny = isinstance(self.autoencoder, AutoencoderTiny)
        return 1.0 if tiny else float(config.scaling_factor), float(getattr(config, "shift_factor", None) or 0.0)

    def num_tokens(self, prompt: str, *, words: Mapping[str, Tensor]) -> int:
        return len(token_ids(self.tokenizer, prompt, words=words)[0])

    def word_places(self, prompt: str, word: str, *, words: Mapping[str, Tensor]) -> list[int]:
        """Where in the text states of a prompt a learned word starts; the begin token is at 0."""
        return [1 + place for place, found in token_ids(self.tokenizer, prompt, words=words)[1] if found == word]

    def word_vectors(self, text: str) -> Tensor:
        """[n, D]: the rows of the embedding table for the tokens of `text`."""
        ids, _ = token_ids(self.tokenizer, text, words={})
        table: Tensor = self.text_encoder.get_input_embeddings().weight
        return table[torch.tensor(ids, device=table.device)].detach().clone()

    def word_table(self) -> Tensor:
        table: Tensor = self.text_encoder.get_input_embeddings().weight
        return table.detach()

    def text_attention(self) -> list[TextAttention]:
        tower: Any = self.text_encoder
        found = [m for n, m in tower.named_modules() if n.endswith(".self_attn")]
        return [TextAttention(layer) for layer in found]

    def text_states(self, prompts: Sequence[str], *, words: Mapping[str, Tensor]) -> Tensor:
        return text_states(self.tokenizer, self.text_encoder, prompts, words=words).to(self.dtype)

    # ----------------------------------------------------------------------------------------- noise, velocity, flow

    @property
    def num_train_times(self) -> int:
        return int(self.schedule.config.num_train_timesteps)

    @property
    def prediction_type(self) -> str:
        return str(self.schedule.config.prediction_type)

    def noised(self, latents: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps (Eq. 4 of arXiv:2006.11239)."""
        found: Tensor = self.schedule.add_noise(latents, noise, time)
        return found

    def target(self, latents: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """What the denoiser should say: the noise, or v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x_0 (arXiv:2202.00512)."""
        if self.prediction_type == "epsilon":
            return noise
        found: Tensor = self.schedule.get_velocity(latents, noise, time)
        return found

    def x0(self, noised: Tensor, output: Tensor, time: Tensor) -> Tensor:
        """The clean latents that a prediction implies."""
        alpha_bar = self.schedule.alphas_cumprod.to(noised)[time].view(-1, 1, 1, 1)
        signal, sigma = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
        if self.prediction_type == "epsilon":
            return (noised - sigma * output) / signal
        return signal * noised - sigma * output

    def noise_of(self, noised: Tensor, output: Tensor, time: Tensor) -> Tensor:
        """The noise that a prediction implies."""
        if self.prediction_type == "epsilon":
            return output
        alpha_bar = self.schedule.alphas_cumprod.to(noised)[time].view(-1, 1, 1, 1)
        return alpha_bar.sqrt() * output + (1 - alpha_bar).sqrt() * noised

    def predict(self, noised: Tensor, time: Tensor, states: Tensor, *, context: Pass) -> Tensor:
        """[B, C, h, w] -> [B, C, h, w]: one run of the UNet, its attention layers seeing `context`."""
        kwargs = {"run": context}
        out: Tensor = self.denoiser(noised, time, encoder_hidden_states=states, cross_attention_kwargs=kwargs).sample
        return out

    def scheduler(self, name: str) -> Any:
        """A fresh sampler with this base's tables: "ddim", "ddpm" or "dpm" (DPM-Solver++ 2M)."""
        if name not in SCHEDULERS:
            raise UnknownName("sampler", name, SCHEDULERS)
        extra = {"clip_sample": False} if name != "dpm" else {}
        return SCHEDULERS[name].from_config(self.schedule.config, **extra)

    # --------------------------------------------------------------------------------------------------- the network

    def module(self, part: str) -> nn.Module:
        parts: dict[str, nn.Module] = {
            "denoiser": self.denoiser,
            "autoencoder": self.autoencoder,
            "text_encoder": self.text_encoder,
        }
        if part not in parts:
            raise UnknownName("part of the base", part, parts)
        return parts[part]

    def select(self, what: str) -> dict[str, nn.Parameter]:
        """Named sets of parameters, as "denoiser.<name>" or "text_encoder.<name>". Never empty."""
        if what not in SELECTIONS:
            raise UnknownName("selection", what, SELECTIONS)
        part, kinds, layers = SELECTIONS[what]
        starts = (
            tuple(f"{s.name}.{layer}" for s in self.sites if s.kind in kinds for layer in layers) if kinds else ("",)
        )
        found = {f"{part}.{n}": p for n, p in self.module(part).named_parameters() if n.startswith(starts)}
        if not found:
            raise InputError(f"selection {what!r} matches no parameter of {self.name}: this base has no such layers")
        return found

    def projections(self, what: str) -> dict[str, nn.Module]:
        """Layers of the denoiser that low-rank changes go on: "attention", or "everything" (convolutions as well)."""
        known = {"attention": (nn.Linear,), "everything": (nn.Linear, nn.Conv2d)}
        if what not in known:
            raise UnknownName("set of layers", what, known)
        layers = {n: m for n, m in self.denoiser.named_modules() if isinstance(m, known[what])}
        if what == "attention":
            layers = {n: m for n, m in layers.items() if n.endswith(_ATTENTION_LAYERS)}
        return {f"denoiser.{name}": layer for name, layer in layers.items()}

    def transformer_blocks(self) -> dict[str, tuple[nn.Module, nn.Module, int]]:
        """By name, in the order of the modules: the cross-attention and feed-forward layers of each, and its width."""
        from diffusers.models.attention import BasicTransformerBlock

        blocks: Any = {n: m for n, m in self.denoiser.named_modules() if isinstance(m, BasicTransformerBlock)}
        return {f"denoiser.{n}": (block.attn2, block.ff, block.dim) for n, block in blocks.items()}

    def attention_widths(self, site: Site) -> tuple[int, int, int]:
        layer: Any = self.denoiser.get_submodule(site.name)
        return int(layer.heads), layer.to_q.in_features, layer.to_k.in_features

    def key_value(self, site: Site) -> tuple[nn.Linear, nn.Linear]:
        layer: Any = self.denoiser.get_submodule(site.name)
        return layer.to_k, layer.to_v


_ATTENTION_LAYERS = (".to_q", ".to_k", ".to_v", ".to_out.0")
SELECTIONS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {  # part, kinds of attention site, layers there
    "everything": ("denoiser", (), ()),
    "cross_attention_kv": ("denoiser", ("cross",), ("to_k.", "to_v.")),
    "cross_attention": ("denoiser", ("cross",), ("",)),
    "self_attention": ("denoiser", ("self",), ("",)),
    "attention": ("denoiser", ("self", "cross"), ("",)),
    "text_encoder": ("text_encoder", (), ()),
}


def load(folder: Path | str, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> StableDiffusion:
    """Open a diffusers folder or hub id of this family. Safetensors only; nothing is downloaded when offline."""
    from transformers import CLIPTextModel, CLIPTokenizer

    def part(kind: Any, sub: str, **more: Any) -> Any:
        return kind.from_pretrained(str(folder), subfolder=sub, **more)

    weights = {"torch_dtype": dtype, "use_safetensors": True}
    beside = [Path(str(folder)) / place for place in ("image_encoder", "../clip")]
    with quiet():
        return StableDiffusion(
            Path(str(folder)).name,
            unet=part(UNet2DConditionModel, "unet", **weights).to(device),
            vae=part(_autoencoder_class(folder), "vae", **weights).to(device),
            text_encoder=part(CLIPTextModel, "text_encoder", dtype=dtype, use_safetensors=True).to(device),
            tokenizer=part(CLIPTokenizer, "tokenizer"),
            scheduler=part(DDPMScheduler, "scheduler"),
            image_encoder=next((place for place in beside if place.is_dir()), None),
        )


def _autoencoder_class(folder: Path | str) -> Any:
    kind = AutoencoderKL.load_config(str(folder), subfolder="vae").get("_class_name")
    return AutoencoderTiny if kind == "AutoencoderTiny" else AutoencoderKL
