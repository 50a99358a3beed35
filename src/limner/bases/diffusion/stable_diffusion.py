"""Stable Diffusion 1.x and 2.x, and bases of the same architecture, such as pocket.

One CLIP text encoder, a KL autoencoder (or a tiny one), and a UNet with cross-attention that predicts noise or
velocity.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from limner.bases.common.attention import host_sites
from limner.bases.common.control import with_residuals
from limner.bases.common.family import Family
from limner.bases.common.opening import Opening
from limner.bases.common.paths import Diffusion
from limner.bases.common.text import clip_tower
from limner.core.types import Pass
from limner.errors import InputError


class StableDiffusion(Diffusion, Family):
    """A pipeline of this family behind the `Base` protocol."""

    family = "stable_diffusion"
    takes_residuals = True

    def __init__(self, name: str, **parts: Any) -> None:
        super().__init__(name, **parts)
        self.sites = host_sites(self.denoiser)

    def text_states(self, prompts: Sequence[str], *, words: Mapping[str, Tensor]) -> Tensor:
        """[B, L, D]: last hidden states of the text encoder."""
        states: Tensor = self._read(self.towers[0], prompts, words)[0].last_hidden_state
        return states.to(self.dtype)

    def text_features(self, prompts: Sequence[str], *, words: Mapping[str, Tensor]) -> Tensor:
        """[B, D]: global CLIP embeddings of texts, in the same space as those of pictures: the projected hidden state
        of the end token. Raises `InputError` where the folder of the image encoder lacks CLIP's text projection."""
        states = self._read(self.towers[0], prompts, words)[0].last_hidden_state
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
                    weight: Tensor = tensors.get_tensor(name)
                    return weight.to(self.device)
        raise InputError(
            f"{self.name} cannot compare texts with pictures, which this method does: put the whole CLIP of its text "
            "encoder into the base's folder as image_encoder/"
        )

    def predict(self, noised: Tensor, time: Tensor, states: Tensor, *, context: Pass) -> Tensor:
        """[B, C, h, w] -> [B, C, h, w]: one pass of the UNet, whose attention layers receive `context`."""
        x = self._filled(noised, context)
        arguments = with_residuals(
            x, time, context, encoder_hidden_states=states, cross_attention_kwargs={"run": context}
        )
        out: Tensor = self.denoiser(x, time, **arguments).sample
        return out


def load(opening: Opening) -> StableDiffusion:
    """Open a pipeline of this family."""
    tower = clip_tower(opening.tokenizer(), opening.text_encoder())
    return StableDiffusion(
        opening.name,
        denoiser=opening.network("unet"),
        autoencoder=opening.network("vae"),
        towers=[tower],
        scheduler=opening.scheduler(),
        image_encoder=opening.image_encoder,
    )
