"""aMUSEd (arXiv:2401.01808), which predicts all masked tokens of a picture at once, as Muse does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from diffusers import AmusedScheduler
from torch import Generator, Tensor

from limner.bases.common.attention import host_sites
from limner.bases.common.family import Family, in_range
from limner.bases.common.opening import Opening
from limner.bases.common.states import pack, rows_of, unpack
from limner.bases.common.text import clip_tower
from limner.core.base import Predicts
from limner.core.types import Pass
from limner.errors import InputError, UnknownName

AESTHETIC = 6.0
"""Aesthetic score that the denoiser is conditioned on."""
SKIP = -100
"""Target at a token that was not masked, which the loss ignores."""


class Amused(Family):
    """Latents are token ids [B, 1, h, w]. A time is 1000 s with s in [0, 1]: the fraction cos(s pi / 2) of all
    positions is masked, and the denoiser predicts logits [B, K, h, w] of their tokens."""

    family = "amused"
    samplers: ClassVar[tuple[str, ...]] = ("masked",)
    num_train_times = 1000
    predicts: Predicts = "tokens"
    reads_states_unchanged = False

    def __init__(self, name: str, **parts: Any) -> None:
        super().__init__(name, **parts)
        self.sites = host_sites(self.denoiser)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        side = int(self.denoiser.config.sample_size)
        return 1, side, side

    def checkpoint(self, on: bool) -> None:
        if on:
            raise InputError(f"{self.name}: diffusers' network of {self.family} has no gradient checkpointing")

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 3, H, W] in [0, 1] -> token ids [B, 1, h, w] in the base's data type, and zeros."""
        with self.at_work(self.autoencoder):
            latents = self.autoencoder.encode(pixels.to(self.device, self.autoencoder.dtype)).latents
            ids = self.autoencoder.quantize(latents)[2][2]
        tokens = ids.reshape(len(latents), 1, *latents.shape[2:]).to(self.dtype)
        return tokens, torch.zeros_like(tokens)

    def decode(self, latents: Tensor, *, clamp: bool = True) -> Tensor:
        rows, _, high, side = latents.shape
        shape = (rows, high, side, int(self.autoencoder.config.latent_channels))
        ids = latents[:, 0].long().clamp(0, int(self.denoiser.config.codebook_size) - 1)
        with self.at_work(self.autoencoder):
            pixels: Tensor = self.autoencoder.decode(ids, force_not_quantize=True, shape=shape).sample
        return in_range(pixels, clamp=clamp)

    @property
    def states_shape(self) -> tuple[int, int]:
        return (tower := self.towers[0]).length + rows_of(
            int(tower.model.config.projection_dim), tower.width
        ), tower.width

    @property
    def text_positions(self) -> int:
        return self.towers[0].length

    def text_states(self, prompts: Sequence[str], *, words: Mapping[str, Tensor]) -> Tensor:
        """[B, L + rows, D]: hidden states of the second last layer, and the projected end token."""
        out, _ = self._read(self.towers[0], prompts, words, output_hidden_states=True)
        return pack(out.hidden_states[-2], pooled=out.text_embeds).to(self.dtype)

    def attended(self, states: Tensor) -> Tensor:
        """[B, 77, C]: hidden states through the denoiser's own map of them, normalised."""
        layers = self.denoiser
        mapped: Tensor = layers.encoder_proj_layer_norm(layers.encoder_proj(super().attended(states)))
        return mapped

    def text_features(self, prompts: Sequence[str], *, words: Mapping[str, Tensor]) -> Tensor:
        """[B, D]: the projected end tokens of texts, in the space of the CLIP that the text encoder is of."""
        out, _ = self._read(self.towers[0], prompts, words)
        features: Tensor = out.text_embeds
        return features

    def draw_times(self, count: int, generator: Generator) -> Tensor:
        return torch.rand(count, generator=generator) * self.num_train_times

    def begin(self, noise: Tensor, scheduler: Any) -> Tensor:
        """The latents at which a sampler starts: mask tokens alone."""
        return torch.full_like(noise, scheduler.config.mask_token_id)

    def noised(self, latents: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """The tokens, with the mask token at a random share of positions, which time and noise determine."""
        return torch.where(self._masked(noise, time), float(self.scheduler_config["mask_token_id"]), latents)

    def target(self, latents: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """The tokens at masked positions, and `SKIP` elsewhere."""
        return torch.where(self._masked(noise, time), latents, float(SKIP))

    def error(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy at every position [B, 1, h, w], and the mask of positions that count."""
        counts = target != SKIP
        errors = F.cross_entropy(output.float(), target[:, 0].long(), ignore_index=SKIP, reduction="none")
        return errors[:, None], counts.float()

    def x0(self, noised: Tensor, output: Tensor, time: Tensor) -> Tensor:
        raise InputError(_NO_NOISE.format(self.name))

    noise_of = x0

    def _masked(self, noise: Tensor, time: Tensor) -> Tensor:
        share = (time.to(noise.device).float() / self.num_train_times).clamp(0, 1)
        places = noise[0].numel()
        count = (places * torch.cos(share * torch.pi / 2)).round().clamp(1)
        order = noise.flatten(1).argsort(1)
        return (order < count[:, None]).view(noise.shape)

    def predict(self, noised: Tensor, time: Tensor, states: Tensor, *, context: Pass) -> Tensor:
        """[B, 1, h, w] -> logits [B, K, h, w]."""
        side, high = (float(n * self._factor) for n in (noised.shape[-1], noised.shape[-2]))
        micro_conditions = states.new_tensor([side, high, 0.0, 0.0, AESTHETIC]).expand(len(noised), -1)
        wide = int(self.towers[0].model.config.projection_dim)
        sequence, pooled, _ = unpack(states, self.text_positions, pooled=wide)
        out: Tensor = self.denoiser(
            noised[:, 0].long(),
            encoder_hidden_states=sequence,
            pooled_text_emb=pooled,
            micro_conds=micro_conditions,
            cross_attention_kwargs={"run": context},
        )
        return out

    def scheduler(self, name: str = "", *, steps: int) -> Any:
        """A new sampler, which unmasks the most certain tokens first; its tables are on the base's device, as the
        tokens are.

        name: "masked" or empty
        steps: number of sampling steps
        """
        if name not in ("", "masked"):
            raise UnknownName("sampler", name, self.samplers)
        sampler = AmusedScheduler.from_config(self.scheduler_config)
        sampler.set_timesteps(steps, (2, 0), self.device)
        return sampler

    def stepped(
        self, scheduler: Any, output: Tensor, time: Tensor, latents: Tensor, noises: Sequence[Generator]
    ) -> Tensor:
        """The tokens after one more step of the sampler; each row draws from its own generator."""
        rows = [
            scheduler.step(output[k : k + 1], time, latents[k : k + 1, 0].long(), generator=noises[k]).prev_sample
            for k in range(len(latents))
        ]
        return torch.cat(rows)[:, None].to(latents)


_NO_NOISE = (
    "{} predicts masked tokens: there is no noise, and no clean picture between two steps. This method needs one of "
    "them; methods that train by reconstruction alone work on this base"
)


def load(opening: Opening) -> Amused:
    """Open a pipeline of this family."""
    return Amused(
        opening.name,
        denoiser=opening.network("transformer"),
        autoencoder=opening.network("vqvae"),
        towers=[clip_tower(opening.tokenizer(), opening.text_encoder())],
        scheduler=opening.scheduler(),
        image_encoder=opening.image_encoder,
    )
