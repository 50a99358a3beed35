"""aMUSEd (arXiv:2401.01808), of the kind of Muse: masked tokens of a picture, predicted all at once."""

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

AESTHETIC = 6.0  # score of beauty that pictures are told to have
SKIP = -100  # of a target: a token that was not masked and does not count


class Amused(Family):
    """Latents are token ids [B, 1, h, w]. A time is a thousand times the share of the way: what is noised is masked,
    cos(share pi / 2) of all places; what is predicted are the logits [B, K, h, w] of the tokens there."""

    family = "amused"
    samplers: ClassVar[tuple[str, ...]] = ("masked",)
    num_train_times = 1000
    predicts: Predicts = "tokens"

    def __init__(self, name: str, **parts: Any) -> None:
        super().__init__(name, **parts)
        self.sites = host_sites(self.denoiser)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        side = int(self.denoiser.config.sample_size)
        return 1, side, side

    def checkpoint(self, on: bool) -> None:
        if on:
            raise InputError(f"{self.name}: diffusers' network of {self.family} cannot compute activations twice")

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 3, H, W] in [0, 1] -> token ids [B, 1, h, w] as numbers, and zeros."""
        with self.at_work(self.autoencoder):
            latents = self.autoencoder.encode(pixels.to(self.device, self.autoencoder.dtype)).latents
            ids = self.autoencoder.quantize(latents)[2][2]
        found = ids.reshape(len(latents), 1, *latents.shape[2:]).to(self.dtype)
        return found, torch.zeros_like(found)

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

    def text_states(self, prompts: Sequence[str], *, words: Mapping[str, Tensor]) -> Tensor:
        """[B, L + rows, D]: the last but one states and the projected end."""
        out, _ = self._read(self.towers[0], prompts, words, output_hidden_states=True)
        return pack(out.hidden_states[-2], pooled=out.text_embeds).to(self.dtype)

    def draw_times(self, count: int, generator: Generator) -> Tensor:
        return torch.rand(count, generator=generator) * self.num_train_times

    def begin(self, noise: Tensor, scheduler: Any) -> Tensor:
        """Nothing but masked tokens."""
        return torch.full_like(noise, scheduler.config.mask_token_id)

    def noised(self, latents: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """The tokens with some masked: at each place in turn, in the order of the noise."""
        return torch.where(self._masked(noise, time), float(self.scheduler_config["mask_token_id"]), latents)

    def target(self, latents: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """The tokens that are masked; the others are to be skipped."""
        return torch.where(self._masked(noise, time), latents, float(SKIP))

    def error(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy at every place [B, 1, h, w], and where it counts."""
        counts = target != SKIP
        found = F.cross_entropy(output.float(), target[:, 0].long(), ignore_index=SKIP, reduction="none")
        return found[:, None], counts.float()

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
        """[B, 1, h, w] -> logits [B, K, h, w]"""
        side, high = (float(n * self._factor) for n in (noised.shape[-1], noised.shape[-2]))
        told = states.new_tensor([side, high, 0.0, 0.0, AESTHETIC]).expand(len(noised), -1)
        wide = int(self.towers[0].model.config.projection_dim)
        sequence, pooled, _ = unpack(states, self.towers[0].length, pooled=wide)
        out: Tensor = self.denoiser(
            noised[:, 0].long(),
            encoder_hidden_states=sequence,
            pooled_text_emb=pooled,
            micro_conds=told,
            cross_attention_kwargs={"run": context},
        )
        return out

    def scheduler(self, name: str = "", *, steps: int) -> Any:
        """A fresh sampler that unmasks what it is surest of; it counts tokens where they are, so its tables are there
        as well."""
        if name not in ("", "masked"):
            raise UnknownName("sampler", name, self.samplers)
        found = AmusedScheduler.from_config(self.scheduler_config)
        found.set_timesteps(steps, (2, 0), self.device)
        return found

    def stepped(
        self, scheduler: Any, output: Tensor, time: Tensor, latents: Tensor, noises: Sequence[Generator]
    ) -> Tensor:
        """Each row with its own random stream."""
        rows = [
            scheduler.step(output[k : k + 1], time, latents[k : k + 1, 0].long(), generator=noises[k]).prev_sample
            for k in range(len(latents))
        ]
        return torch.cat(rows)[:, None].to(latents)


_NO_NOISE = (
    "{} predicts masked tokens: there is no noise, and no clean picture between two steps. This method needs one of them; "
    "methods that learn by reconstruction alone work on this base"
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
