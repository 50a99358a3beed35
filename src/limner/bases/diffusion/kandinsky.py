"""Kandinsky 2.2 (arXiv:2310.03502): a prior turns a prompt into a CLIP image embedding, and a decoder paints from
it."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from limner.bases.common.attention import host_sites
from limner.bases.common.family import Family, in_range
from limner.bases.common.joint import AddedKeysHost
from limner.bases.common.opening import Opening, read_index
from limner.bases.common.paths import Diffusion
from limner.bases.common.text import clip_tower
from limner.core.types import Pass, Site
from limner.errors import FileError, InputError

PRIOR_STEPS, PRIOR_GUIDANCE = 25, 4.0


class Kandinsky(Diffusion, Family):
    """The decoder reads a prompt as one image embedding. The prior samples this embedding from noise that depends on
    the prompt alone; no gradient passes through it, so words cannot be learned, and training changes the decoder."""

    family = "kandinsky"

    def __init__(self, name: str, *, prior: Any, prior_scheduler: Any, prior_pictures: Any, **parts: Any) -> None:
        self.prior, self.prior_scheduler, self.prior_pictures = prior, prior_scheduler, prior_pictures
        super().__init__(name, **parts)
        self.sites = host_sites(self.denoiser, lambda *_: ("joint", AddedKeysHost))

    @property
    def _parts(self) -> dict[str, Any]:
        return {**super()._parts, "prior": self.prior, "prior_pictures": self.prior_pictures}

    @property
    def max_tokens(self) -> int:
        return self.towers[0].room

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        with self.at_work(self.autoencoder):
            latents = self.autoencoder.encode((2 * pixels - 1).to(self.device, self.autoencoder.dtype)).latents
        latents = latents.to(self.dtype).contiguous()
        return latents, torch.zeros_like(latents)

    def decode(self, latents: Tensor, *, clamp: bool = True) -> Tensor:
        with self.at_work(self.autoencoder):
            pixels = self.autoencoder.decode(latents.to(self.autoencoder.dtype), force_not_quantize=True).sample
        return in_range(pixels / 2 + 0.5, clamp=clamp)

    @property
    def states_shape(self) -> tuple[int, int]:
        return 1, int(self.prior.config.embedding_dim)

    def text_states(self, prompts: Sequence[str], *, words: Mapping[str, Tensor]) -> Tensor:
        """[B, 1, D]: image embeddings; that of a black picture for an empty prompt."""
        if words:
            raise InputError(
                f"{self.name} ({self.family}) cannot learn words: its decoder reads an embedding that a prior samples for "
                "the prompt, and no gradient passes through the prior. Use a method that changes weights, such as "
                "lora_dreambooth"
            )
        return torch.stack([self._embedded(prompt) if prompt else self._nothing for prompt in prompts]).to(self.dtype)

    def _embedded(self, prompt: str) -> Tensor:
        """[1, D]: the image embedding that the prior samples for a prompt."""
        noise = torch.Generator().manual_seed(zlib.crc32(prompt.encode()))
        with torch.no_grad(), self.at_work(self.prior, self.towers[0].model):
            out, mask = self.towers[0].read(["", prompt], {})
            self.prior_scheduler.set_timesteps(PRIOR_STEPS, device=self.device)
            times = self.prior_scheduler.timesteps
            wide = int(self.prior.config.embedding_dim)
            x = torch.randn(1, wide, generator=noise).to(self.device, self.prior.dtype)
            x = x * self.prior_scheduler.init_noise_sigma
            for place, time in enumerate(times):
                about = {"encoder_hidden_states": out.last_hidden_state, "attention_mask": mask}
                both = self.prior(torch.cat([x, x]), timestep=time, proj_embedding=out.text_embeds, **about)
                free, conditional = both.predicted_image_embedding.chunk(2)
                guided = free + PRIOR_GUIDANCE * (conditional - free)
                before = times[place + 1] if place + 1 < len(times) else None
                step = {"timestep": time, "sample": x, "generator": noise, "prev_timestep": before}
                x = self.prior_scheduler.step(guided, **step).prev_sample
            embedding: Tensor = self.prior.post_process_latents(x)
        return embedding

    @functools.cached_property
    def _nothing(self) -> Tensor:
        side = int(self.prior_pictures.config.image_size)
        with torch.no_grad(), self.at_work(self.prior_pictures):
            black = torch.zeros(1, 3, side, side, device=self.device, dtype=self.prior_pictures.dtype)
            embeds: Tensor = self.prior_pictures(black).image_embeds
        return embeds

    def word_places(self, prompt: str, word: str, *, words: Mapping[str, Tensor]) -> list[int]:
        raise InputError(
            f"{self.name} ({self.family}) reads one embedding of the whole prompt: a word has no position in it"
        )

    def attention_widths(self, site: Site) -> tuple[int, int, int]:
        layer: Any = self.denoiser.get_submodule(site.name)
        return int(layer.heads), layer.to_q.in_features, layer.add_k_proj.in_features

    def predict(self, noised: Tensor, time: Tensor, states: Tensor, *, context: Pass) -> Tensor:
        out: Tensor = self.denoiser(
            noised,
            time,
            encoder_hidden_states=None,
            added_cond_kwargs={"image_embeds": states[:, 0]},
            cross_attention_kwargs={"run": context},
        ).sample
        return out[:, : noised.shape[1]]


def load(opening: Opening) -> Kandinsky:
    """Open a decoder and its prior: from the folder of a combined pipeline, or from that of a decoder, which holds the
    prior as prior/ or has it next to itself ("…-decoder" and "…-prior")."""
    if opening.has("prior_prior"):
        prior, prefix = opening, "prior_"
    else:
        prior, prefix = _prior_of(opening), ""
    tower = clip_tower(prior.tokenizer(f"{prefix}tokenizer"), prior.text_encoder(f"{prefix}text_encoder"))
    return Kandinsky(
        opening.name,
        denoiser=opening.network("unet"),
        autoencoder=opening.network("movq"),
        towers=[tower],
        scheduler=opening.scheduler(),
        prior=prior.network(f"{prefix}prior", role="prior").requires_grad_(False).eval(),
        prior_scheduler=prior.scheduler(f"{prefix}scheduler"),
        prior_pictures=prior.text_encoder(f"{prefix}image_encoder").requires_grad_(False).eval(),
        image_encoder=opening.image_encoder,
    )


def _prior_of(opening: Opening) -> Opening:
    inside = Path(opening.source) / "prior"
    source = str(inside) if inside.is_dir() else opening.source.replace("decoder", "prior")
    if source == opening.source:
        raise FileError(f"{opening.source} is a decoder without its prior: put the prior's folder into it as prior/")
    about: dict[str, Any] = {
        "device": opening.device,
        "dtype": opening.dtype,
        "dtypes": opening.dtypes,
        "offline": opening.offline,
    }
    prior = Opening(source, index=read_index(source, offline=opening.offline), **about)
    opening.beside.append(prior)
    return prior
