"""FLUX.2 klein: Qwen3's hidden states at three depths, joint and merged attention, a flow over patches of normalised
latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from limner.bases.common.attention import host_sites
from limner.bases.common.family import Family, in_range
from limner.bases.common.joint import JointHost, ParallelHost
from limner.bases.common.opening import Opening
from limner.bases.common.paths import Flow, falling
from limner.bases.common.text import Tower
from limner.core.types import Kind, Pass

DEPTHS = (9, 18, 27)
PLACES = 512


class Flux2(Flow, Family):
    """Latents are 2x2 patches of the autoencoder's latents, with four times the channels, normalised by its running
    statistics. The distilled klein samples without guidance, the undistilled one with it."""

    family = "flux2"

    def __init__(self, name: str, *, depths: tuple[int, ...] = DEPTHS, **parts: Any) -> None:
        super().__init__(name, **parts)
        self.depths = depths

        def choose(layer: str, _: Any) -> tuple[Kind, Any]:
            return ("merged", ParallelHost) if layer.startswith("single_") else ("joint", JointHost)

        self.idle = ("time_guidance_embed.guidance_embedder",)  # klein reads no scale of guidance
        self.sites = host_sites(self.denoiser, choose)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        side = int(getattr(self.denoiser.config, "sample_size", None) or 128) // 2
        return int(self.denoiser.config.in_channels), side, side

    @property
    def _factor(self) -> int:
        return 2 * super()._factor

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        with self.at_work(self.autoencoder):
            posterior = self.autoencoder.encode((2 * pixels - 1).to(self.device, self.autoencoder.dtype)).latent_dist
        mean, std = self._statistics(posterior.mean)
        centre, deviation = (patched(posterior.mean) - mean) / std, patched(posterior.std) / std
        return centre.to(self.dtype).contiguous(), deviation.to(self.dtype).contiguous()

    def decode(self, latents: Tensor, *, clamp: bool = True) -> Tensor:
        mean, std = self._statistics(latents)
        with self.at_work(self.autoencoder):
            pixels = self.autoencoder.decode(unpatched(latents * std + mean).to(self.autoencoder.dtype)).sample
        return in_range(pixels / 2 + 0.5, clamp=clamp)

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        norm = self.autoencoder.bn
        std = torch.sqrt(norm.running_var.view(1, -1, 1, 1) + self.autoencoder.config.batch_norm_eps)
        return norm.running_mean.view(1, -1, 1, 1).to(like), std.to(like)

    @property
    def states_shape(self) -> tuple[int, int]:
        return self.towers[0].length, int(self.denoiser.config.joint_attention_dim)

    def text_states(self, prompts: Sequence[str], *, words: Mapping[str, Tensor]) -> Tensor:
        """[B, L, 3 D]: hidden states at three depths, side by side."""
        out, _ = self._read(self.towers[0], prompts, words, output_hidden_states=True, use_cache=False)
        return torch.cat([out.hidden_states[depth] for depth in self.depths], -1).to(self.dtype)

    def attended(self, states: Tensor) -> Tensor:
        """[B, L, C]: hidden states through the denoiser's own map of them, which the first layer reads."""
        mapped: Tensor = self.denoiser.context_embedder(super().attended(states))
        return mapped

    def predict(self, noised: Tensor, time: Tensor, states: Tensor, *, context: Pass) -> Tensor:
        high, side = noised.shape[-2:]
        context.text_places = states.shape[1]
        one = torch.zeros(1, dtype=torch.long)
        text = torch.cartesian_prod(one, one, one, torch.arange(states.shape[1]))
        picture = torch.cartesian_prod(one, torch.arange(high), torch.arange(side), one)
        out = self.denoiser(
            hidden_states=noised.flatten(2).transpose(1, 2),
            timestep=time.to(noised) / 1000,
            guidance=None,
            encoder_hidden_states=states,
            txt_ids=text.to(noised.device),
            img_ids=picture.to(noised.device),
            joint_attention_kwargs={"run": context},
        ).sample
        return out.transpose(1, 2).reshape(len(noised), -1, high, side)

    def _steps(self, steps: int) -> dict[str, Any]:
        _, high, side = self.latent_shape
        return {"sigmas": falling(steps), "mu": shift(high * side, steps)}


def shift(places: int, steps: int) -> float:
    """Shift of the flow's times, by the makers' fit to the number of positions and of steps (as in diffusers'
    pipeline)."""
    from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu

    return float(compute_empirical_mu(image_seq_len=places, num_steps=steps))


def patched(x: Tensor) -> Tensor:
    """Each 2x2 patch as one position: [B, C, h, w] -> [B, 4 C, h / 2, w / 2]."""
    rows, wide, high, side = x.shape
    x = x.view(rows, wide, high // 2, 2, side // 2, 2).permute(0, 1, 3, 5, 2, 4)
    return x.reshape(rows, 4 * wide, high // 2, side // 2)


def unpatched(x: Tensor) -> Tensor:
    """The inverse of `patched`: [B, 4 C, h, w] -> [B, C, 2 h, 2 w]."""
    rows, wide, high, side = x.shape
    x = x.reshape(rows, wide // 4, 2, 2, high, side).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(rows, wide // 4, 2 * high, 2 * side)


def load(opening: Opening) -> Flux2:
    """Open a pipeline of this family."""
    tokenizer, model = opening.tokenizer(), opening.text_encoder()
    layers = int(model.config.num_hidden_layers)

    def template(prompt: str) -> str:
        about = {"tokenize": False, "add_generation_prompt": True, "enable_thinking": False}
        return str(tokenizer.apply_chat_template([{"role": "user", "content": prompt}], **about))

    tower = Tower(tokenizer, model, PLACES, begins=False, ends=False, masked=True, spaces="before", template=template)
    return Flux2(
        opening.name,
        depths=DEPTHS if layers >= max(DEPTHS) else tuple(layers * k // 4 for k in (1, 2, 3)),
        denoiser=opening.network("transformer"),
        autoencoder=opening.network("vae"),
        towers=[tower],
        scheduler=opening.scheduler(),
        image_encoder=opening.image_encoder,
    )
