"""FLUX.1: hidden states from T5, a global vector from CLIP, joint and merged attention, a flow over packed latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from limner.bases.common.attention import host_sites
from limner.bases.common.family import Family
from limner.bases.common.joint import JointHost
from limner.bases.common.opening import Opening
from limner.bases.common.paths import Flow, falling, linear_shift
from limner.bases.common.states import pack, rows_of, unpack
from limner.bases.common.text import Tower, clip_tower
from limner.core.types import Pass

TEACHING_GUIDANCE = 3.5
"""Scale of guidance that a guidance-distilled base reads in training where a recipe sets none (diffusers' training
script)."""


class Flux(Flow, Family):
    """Hidden states come from T5, the global vector is CLIP's pooled output. Latents are packed two by two for the
    denoiser alone. `dev` was distilled to read the scale of guidance as a number: sampling takes one pass, without an
    empty prompt."""

    family = "flux"

    def __init__(self, name: str, **parts: Any) -> None:
        super().__init__(name, **parts)
        self.sites = host_sites(
            self.denoiser, lambda name, _: ("merged" if name.startswith("single_") else "joint", JointHost)
        )
        self.guidance = "embedded" if self.denoiser.config.guidance_embeds else "classifier_free"

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        side = int(getattr(self.denoiser.config, "sample_size", None) or 128)
        return int(self.denoiser.config.in_channels) // 4, side, side

    @property
    def states_shape(self) -> tuple[int, int]:
        return self.text_positions + rows_of(
            int(self.denoiser.config.pooled_projection_dim), wide := int(self.denoiser.config.joint_attention_dim)
        ), wide

    @property
    def text_positions(self) -> int:
        return self.towers[0].length

    def text_states(self, prompts: Sequence[str], *, words: Mapping[str, Tensor]) -> Tensor:
        """T5's hidden states and CLIP's global vector, [B, L + rows, D]."""
        sequence = self._read(self.towers[0], prompts, words)[0].last_hidden_state
        pooled = self._read(self.towers[1], prompts, words)[0].pooler_output
        return pack(sequence, pooled=pooled).to(self.dtype)

    def attended(self, states: Tensor) -> Tensor:
        """[B, L, C]: hidden states through the denoiser's own map of them, which the first layer reads."""
        mapped: Tensor = self.denoiser.context_embedder(super().attended(states))
        return mapped

    def predict(self, noised: Tensor, time: Tensor, states: Tensor, *, context: Pass) -> Tensor:
        wide = int(self.denoiser.config.pooled_projection_dim)
        sequence, pooled, _ = unpack(states, self.text_positions, pooled=wide)
        high, side = noised.shape[-2] // 2, noised.shape[-1] // 2
        context.text_places = sequence.shape[1]
        scale = TEACHING_GUIDANCE if context.guidance is None else context.guidance
        reads = self.denoiser.config.guidance_embeds
        out = self.denoiser(
            hidden_states=packed(noised),
            timestep=time.to(noised) / 1000,
            guidance=noised.new_full((len(noised),), scale, dtype=torch.float32) if reads else None,
            encoder_hidden_states=sequence,
            pooled_projections=pooled,
            txt_ids=sequence.new_zeros(sequence.shape[1], 3),
            img_ids=picture_places(high, side).to(sequence),
            joint_attention_kwargs={"run": context},
        ).sample
        return unpacked(out, high, side)

    def _steps(self, steps: int) -> dict[str, Any]:
        about = {"mu": linear_shift(self.scheduler_config, (self.latent_shape[1] // 2) ** 2)}
        return {"sigmas": falling(steps), **about}


def packed(x: Tensor) -> Tensor:
    """Each 2x2 patch as one position: [B, C, h, w] -> [B, h / 2 * w / 2, 4 C]."""
    rows, wide, high, side = x.shape
    x = x.view(rows, wide, high // 2, 2, side // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return x.reshape(rows, high // 2 * side // 2, 4 * wide)


def unpacked(x: Tensor, high: int, side: int) -> Tensor:
    """The inverse of `packed`: [B, high * side, 4 C] -> [B, C, 2 high, 2 side]."""
    rows, _, wide = x.shape
    return (
        x.view(rows, high, side, wide // 4, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(rows, wide // 4, 2 * high, 2 * side)
    )


def picture_places(high: int, side: int) -> Tensor:
    """[high * side, 3]: 0, row and column of every packed position."""
    rows, columns = torch.meshgrid(torch.arange(high), torch.arange(side), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], -1).reshape(-1, 3)


def load(opening: Opening) -> Flux:
    """Open a pipeline of this family. schnell reads prompts half as long as dev's: 256 positions, not 512."""
    places = 256 if "schnell" in opening.name.lower() else 512
    return Flux(
        opening.name,
        denoiser=opening.network("transformer"),
        autoencoder=opening.network("vae"),
        towers=[
            Tower(
                opening.tokenizer("tokenizer_2"),
                opening.text_encoder("text_encoder_2"),
                places,
                "text_encoder_2",
                begins=False,
            ),
            clip_tower(opening.tokenizer(), opening.text_encoder()),
        ],
        scheduler=opening.scheduler(),
        image_encoder=opening.image_encoder,
    )
