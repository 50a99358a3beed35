"""Stable Diffusion 3 and 3.5 (arXiv:2403.03206): two CLIP text encoders and T5, joint attention, a flow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from limner.bases.common.attention import host_sites
from limner.bases.common.family import Family
from limner.bases.common.joint import PictureFirstHost
from limner.bases.common.opening import Opening
from limner.bases.common.paths import Flow, linear_shift
from limner.bases.common.states import pack, rows_of, unpack
from limner.bases.common.text import Tower, clip_tower
from limner.core.types import Pass

T5_PLACES = 256


class StableDiffusion3(Flow, Family):
    """Hidden states are those of the CLIP text encoders (second last layer, side by side, padded with zeros), followed
    by T5's. The global vector concatenates the projected end tokens of both CLIPs. T5 may be missing: its hidden states
    are then zeros."""

    family = "sd3"
    density = "logit_normal"

    def __init__(self, name: str, **parts: Any) -> None:
        super().__init__(name, **parts)
        last = f"transformer_blocks.{len(self.denoiser.transformer_blocks) - 1}."
        self.idle = (f"{last}attn.add_q_proj",)  # the last block drops the text after attention
        self.sites = host_sites(
            self.denoiser, lambda name, _: ("self" if name.endswith("attn2") else "joint", PictureFirstHost)
        )

    @property
    def states_shape(self) -> tuple[int, int]:
        return self.text_positions + rows_of(
            int(self.denoiser.config.pooled_projection_dim), wide := int(self.denoiser.config.joint_attention_dim)
        ), wide

    @property
    def text_positions(self) -> int:
        return self.towers[0].length + T5_PLACES

    def text_states(self, prompts: Sequence[str], *, words: Mapping[str, Tensor]) -> Tensor:
        """Hidden states of CLIP and T5, and the global vector: [B, 77 + 256 + rows, D]."""
        clips = [self._read(tower, prompts, words, output_hidden_states=True)[0] for tower in self.towers[:2]]
        wide = int(self.denoiser.config.joint_attention_dim)
        clip = torch.cat([out.hidden_states[-2] for out in clips], -1)
        sequence = F.pad(clip, (0, wide - clip.shape[-1]))
        if len(self.towers) > 2:
            t5 = self._read(self.towers[2], prompts, words)[0].last_hidden_state
        else:
            t5 = sequence.new_zeros(len(prompts), T5_PLACES, wide)
        pooled = torch.cat([out.text_embeds for out in clips], -1)
        return pack(torch.cat([sequence, t5.to(sequence)], 1), pooled=pooled).to(self.dtype)

    def word_places(self, prompt: str, word: str, *, words: Mapping[str, Tensor]) -> list[int]:
        """Positions of a learned word: first among CLIP's hidden states, then among T5's."""
        first = super().word_places(prompt, word, words=words)
        if len(self.towers) < 3:
            return first
        behind = self.towers[2].ids(prompt, words)[1]
        return first + [self.towers[0].length + place for place, placed_word in behind if placed_word == word]

    def attended(self, states: Tensor) -> Tensor:
        """[B, L, C]: hidden states through the denoiser's own map of them, which the first layer reads."""
        mapped: Tensor = self.denoiser.context_embedder(super().attended(states))
        return mapped

    def predict(self, noised: Tensor, time: Tensor, states: Tensor, *, context: Pass) -> Tensor:
        wide = int(self.denoiser.config.pooled_projection_dim)
        sequence, pooled, _ = unpack(states, self.text_positions, pooled=wide)
        attention_arguments = {"run": context}
        out: Tensor = self.denoiser(
            noised,
            timestep=time,
            encoder_hidden_states=sequence,
            pooled_projections=pooled,
            joint_attention_kwargs=attention_arguments,
        ).sample
        return out

    def _steps(self, steps: int) -> dict[str, Any]:
        if not self.scheduler_config.get("use_dynamic_shifting"):
            return {"num_inference_steps": steps}
        side = self.latent_shape[1] // int(self.denoiser.config.patch_size)
        return {"num_inference_steps": steps, "mu": linear_shift(self.scheduler_config, side**2, most=1.16)}


def load(opening: Opening) -> StableDiffusion3:
    """Open a pipeline of this family, with or without T5."""
    towers = [
        clip_tower(opening.tokenizer(), opening.text_encoder()),
        clip_tower(opening.tokenizer("tokenizer_2"), opening.text_encoder("text_encoder_2"), name="text_encoder_2"),
    ]
    if opening.has("text_encoder_3"):
        t5 = opening.tokenizer("tokenizer_3"), opening.text_encoder("text_encoder_3")
        towers.append(Tower(*t5, T5_PLACES, "text_encoder_3", begins=False))
    return StableDiffusion3(
        opening.name,
        denoiser=opening.network("transformer"),
        autoencoder=opening.network("vae"),
        towers=towers,
        scheduler=opening.scheduler(),
        image_encoder=opening.image_encoder,
    )
