"""Qwen-Image (arXiv:2508.02324): Qwen2.5-VL for the text, joint attention, a flow over packed latents of a video
autoencoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from limner.bases.common.attention import host_sites
from limner.bases.common.family import Family, in_range
from limner.bases.common.joint import ComplexRotaryHost
from limner.bases.common.opening import Opening
from limner.bases.common.paths import Flow, falling, linear_shift
from limner.bases.common.states import longest, pack, rows_of, unpack
from limner.bases.common.text import Tower
from limner.core.types import Pass

from .flux import packed, unpacked

PLACES = 512
"""Positions of a prompt. The makers allow 1024; padding costs only memory here, but prompts longer than this are
rare."""


class QwenImage(Flow, Family):
    """Hidden states are the language model's last ones, without those of the instruction before the prompt; padding is
    masked."""

    family = "qwen_image"
    guidance = "norm_preserving"

    def __init__(self, name: str, *, skips: int, **parts: Any) -> None:
        super().__init__(name, **parts)
        self.skips = skips  # positions of the instruction before the prompt
        last = f"transformer_blocks.{len(self.denoiser.transformer_blocks) - 1}."
        # The text is dropped after the last block.
        self.idle = (f"{last}txt_mlp", f"{last}attn.to_add_out", f"{last}attn.add_q_proj")
        self.sites = host_sites(self.denoiser, lambda *_: ("joint", ComplexRotaryHost))

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        side = int(getattr(self.denoiser.config, "sample_size", None) or 128)
        return int(self.denoiser.config.in_channels) // 4, side, side

    @property
    def _factor(self) -> int:
        return 2 ** len(self.autoencoder.temperal_downsample)

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        with self.at_work(self.autoencoder):
            frames = (2 * pixels - 1).to(self.device, self.autoencoder.dtype)[:, :, None]
            posterior = self.autoencoder.encode(frames).latent_dist
        mean, std = self._statistics(posterior.mean)
        frame, deviation = ((posterior.mean - mean) / std)[:, :, 0], (posterior.std / std)[:, :, 0]
        return frame.to(self.dtype).contiguous(), deviation.to(self.dtype).contiguous()

    def decode(self, latents: Tensor, *, clamp: bool = True) -> Tensor:
        frames = latents[:, :, None].to(self.autoencoder.dtype)
        mean, std = self._statistics(frames)
        with self.at_work(self.autoencoder):
            pixels = self.autoencoder.decode(frames * std + mean).sample[:, :, 0]
        return in_range(pixels / 2 + 0.5, clamp=clamp)

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        config = self.autoencoder.config
        mean, std = (torch.tensor(v).view(1, -1, 1, 1, 1).to(like) for v in (config.latents_mean, config.latents_std))
        return mean, std

    @property
    def states_shape(self) -> tuple[int, int]:
        return (length := self.text_positions) + rows_of(
            length, wide := int(self.denoiser.config.joint_attention_dim)
        ), wide

    @property
    def text_positions(self) -> int:
        return self.towers[0].length - self.skips

    def text_states(self, prompts: Sequence[str], *, words: Mapping[str, Tensor]) -> Tensor:
        """[B, L + rows, D]: hidden states, and the mask of positions that hold text in the last rows."""
        out, mask = self._read(self.towers[0], prompts, words, output_hidden_states=True)
        sequence, mask = out.hidden_states[-1][:, self.skips :], mask[:, self.skips :]
        return pack(sequence * mask[..., None], mask=mask).to(self.dtype)

    def word_places(self, prompt: str, word: str, *, words: Mapping[str, Tensor]) -> list[int]:
        return [place - self.skips for place in super().word_places(prompt, word, words=words)]

    def attended(self, states: Tensor) -> Tensor:
        """[B, L, C]: hidden states through the denoiser's own norm and map of them, which the first layer reads."""
        mapped: Tensor = self.denoiser.txt_in(self.denoiser.txt_norm(super().attended(states)))
        return mapped

    def predict(self, noised: Tensor, time: Tensor, states: Tensor, *, context: Pass) -> Tensor:
        sequence, _, mask = unpack(states, self.text_positions, masked=True)
        assert mask is not None
        most = longest(mask)
        sequence, mask = sequence[:, :most], mask[:, :most]
        high, side = noised.shape[-2] // 2, noised.shape[-1] // 2
        out = self.denoiser(
            hidden_states=packed(noised),
            timestep=time.to(noised) / 1000,
            guidance=None,
            encoder_hidden_states=sequence,
            encoder_hidden_states_mask=None if mask.is_meta or bool(mask.all()) else mask,
            img_shapes=[[(1, high, side)]] * len(noised),
            attention_kwargs={"run": context},
        ).sample
        return unpacked(out, high, side)

    def _steps(self, steps: int) -> dict[str, Any]:
        about: dict[str, Any] = {"mu": linear_shift(self.scheduler_config, (self.latent_shape[1] // 2) ** 2)}
        return {"sigmas": falling(steps), **about}


BEFORE = (
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, quantity, text, spatial "
    "relationships of the objects and background:<|im_end|>\n<|im_start|>user\n"
)
BEHIND = "<|im_end|>\n<|im_start|>assistant\n"
"""The instruction before and behind the prompt that the denoiser was trained with: part of the model, not of its
code."""


def load(opening: Opening) -> QwenImage:
    """Open a pipeline of this family."""
    tokenizer = opening.tokenizer()
    skips = len(tokenizer(BEFORE, add_special_tokens=False).input_ids)
    about: dict[str, Any] = {"begins": False, "ends": False, "masked": True, "spaces": "before"}
    tower = Tower(
        tokenizer, opening.text_encoder(), PLACES + skips, template=lambda prompt: BEFORE + prompt + BEHIND, **about
    )
    return QwenImage(
        opening.name,
        skips=skips,
        denoiser=opening.network("transformer"),
        autoencoder=opening.network("vae"),
        towers=[tower],
        scheduler=opening.scheduler(),
        image_encoder=opening.image_encoder,
    )
