"""Stable Diffusion XL (arXiv:2307.01952): two CLIP text encoders, and a denoiser conditioned on size and crop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from limner.bases.common.attention import host_sites
from limner.bases.common.control import with_residuals
from limner.bases.common.family import Family
from limner.bases.common.opening import Opening
from limner.bases.common.paths import Diffusion
from limner.bases.common.states import pack, rows_of, unpack
from limner.bases.common.text import clip_tower
from limner.core.types import Pass


class StableDiffusionXL(Diffusion, Family):
    """Hidden states are those of both text encoders' second last layers, side by side; the global vector is the
    projected end token of the second."""

    family = "sdxl"
    takes_residuals = True

    def __init__(self, name: str, *, empty_is_zero: bool = True, **parts: Any) -> None:
        super().__init__(name, **parts)
        self.empty_is_zero = empty_is_zero  # an empty prompt is read as zeros, as in the makers' training
        self.sites = host_sites(self.denoiser)

    @property
    def states_shape(self) -> tuple[int, int]:
        return self.text_positions + rows_of(
            int(self.towers[1].model.config.projection_dim), wide := sum(self.word_widths)
        ), wide

    @property
    def text_positions(self) -> int:
        return self.towers[0].length

    def text_states(self, prompts: Sequence[str], *, words: Mapping[str, Tensor]) -> Tensor:
        """[B, L + 1, D1 + D2]: hidden states, and the global vector in the last row."""
        first, second = (self._read(tower, prompts, words, output_hidden_states=True)[0] for tower in self.towers)
        sequence = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], -1)
        states = pack(sequence, pooled=second.text_embeds).to(self.dtype)
        if self.empty_is_zero:
            states = states * torch.tensor([[[bool(prompt)]] for prompt in prompts], device=states.device)
        return states

    def phrase_features(self, phrases: Sequence[str]) -> Tensor:
        """[B, D]: the hidden state of the end token in the first text encoder, after its last norm."""
        states = self._read(self.towers[0], phrases, {})[0].last_hidden_state
        ends = [1 + self.num_tokens(phrase, words={}) for phrase in phrases]
        features: Tensor = states[torch.arange(len(ends), device=states.device), ends]
        return features

    def predict(self, noised: Tensor, time: Tensor, states: Tensor, *, context: Pass) -> Tensor:
        """[B, C, h, w] -> [B, C, h, w], conditioned on the size of an uncropped picture (Sec. 2.2)."""
        side = float(noised.shape[-1] * self._factor)
        high = float(noised.shape[-2] * self._factor)
        sizes = noised.new_tensor([high, side, 0.0, 0.0, high, side]).expand(len(noised), -1)
        wide = int(self.towers[1].model.config.projection_dim)
        sequence, pooled, _ = unpack(states, self.text_positions, pooled=wide)
        x, about = self._filled(noised, context), {"text_embeds": pooled, "time_ids": sizes}
        arguments = with_residuals(
            x,
            time,
            context,
            encoder_hidden_states=sequence,
            added_cond_kwargs=about,
            cross_attention_kwargs={"run": context},
        )
        out: Tensor = self.denoiser(x, time, **arguments).sample
        return out


def load(opening: Opening) -> StableDiffusionXL:
    """Open a pipeline of this family."""
    return StableDiffusionXL(
        opening.name,
        empty_is_zero=bool(opening.index.get("force_zeros_for_empty_prompt", True)),
        denoiser=opening.network("unet"),
        autoencoder=opening.network("vae"),
        towers=[
            clip_tower(opening.tokenizer(), opening.text_encoder()),
            clip_tower(opening.tokenizer("tokenizer_2"), opening.text_encoder("text_encoder_2"), name="text_encoder_2"),
        ],
        scheduler=opening.scheduler(),
        image_encoder=opening.image_encoder,
    )
