"""DeepFloyd IF, the open counterpart of Imagen (arXiv:2205.11487): T5, and a cascade of UNets in pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from limner.bases.common.attention import host_sites
from limner.bases.common.family import Family, in_range
from limner.bases.common.joint import AddedKeysHost
from limner.bases.common.opening import Opening, read_index
from limner.bases.common.paths import Diffusion
from limner.bases.common.text import Tower
from limner.core.types import Pass

PLACES = 77
NOISE_LEVEL = 250
"""Diffusion time of the noise on the small picture that the second stage enlarges."""


class SecondStage(nn.Module):
    """The super-resolution UNet: samples a larger picture, conditioned on the small one with a little noise."""

    def __init__(self, unet: Any, scheduler: Any, noising: Any) -> None:
        super().__init__()
        self.unet, self.scheduler, self.noising = unet, scheduler, noising

    @torch.no_grad()
    def forward(
        self,
        small: Tensor,
        states: Tensor,
        empty: Tensor,
        *,
        steps: int,
        guidance: float,
        generators: Sequence[Generator],
    ) -> Tensor:
        """Enlarge pictures: [B, 3, h, w] in [-1, 1] -> [B, 3, H, W] in [-1, 1].

        small: [B, 3, h, w] in [-1, 1]
        states: hidden states of the prompts [B, 77, D]
        empty: hidden states of the empty prompt [B, 77, D]
        steps: number of sampling steps
        guidance: scale of classifier-free guidance
        generators: source of noise for each row
        """
        side = int(self.unet.config.sample_size)
        shape = (3, side, side)

        def noise() -> Tensor:
            return torch.stack([torch.randn(shape, generator=g) for g in generators]).to(small)

        x = noise()
        large = F.interpolate(small, (side, side), mode="bilinear", align_corners=True)
        level = torch.full((len(small),), NOISE_LEVEL, device=small.device)
        large = self.noising.add_noise(large, noise(), level)
        self.scheduler.set_timesteps(steps, device=small.device)
        for time in self.scheduler.timesteps:
            both = torch.cat([torch.cat([x, large], 1)] * 2)
            about = {"encoder_hidden_states": torch.cat([empty, states]), "class_labels": level.repeat(2)}
            free, conditional = self.unet(both, time, **about).sample[:, :3].chunk(2)
            more = {"generator": list(generators)} if type(self.scheduler).__name__ == "DDPMScheduler" else {}
            x = self.scheduler.step(free + guidance * (conditional - free), time, x, **more).prev_sample
        return x


class DeepFloyd(Diffusion, Family):
    """Latents are pixels in [-1, 1]. Training changes the first stage alone; the second stage, where there is one,
    enlarges its samples. A stage predicts noise and variance, and the noise alone is used."""

    family = "deepfloyd"

    def __init__(self, name: str, *, second_stage: SecondStage | None = None, **parts: Any) -> None:
        self.second_stage, self.cascaded = second_stage, second_stage is not None
        super().__init__(name, **parts)
        self.sites = host_sites(self.denoiser, lambda *_: ("joint", AddedKeysHost))

    @property
    def _parts(self) -> dict[str, Any]:
        return {**super()._parts, **({"second_stage": self.second_stage} if self.second_stage else {})}

    @property
    def _factor(self) -> int:
        return 1

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        latents = (2 * pixels - 1).to(self.device, self.dtype)
        return latents, torch.zeros_like(latents)

    def decode(self, latents: Tensor, *, clamp: bool = True) -> Tensor:
        return in_range(latents / 2 + 0.5, clamp=clamp)

    @property
    def states_shape(self) -> tuple[int, int]:
        return PLACES, int(self.towers[0].model.config.d_model)

    def text_states(self, prompts: Sequence[str], *, words: Mapping[str, Tensor]) -> Tensor:
        """Hidden states of the prompts in lower case, [B, 77, D]."""
        states: Tensor = self._read(self.towers[0], prompts, words)[0].last_hidden_state
        return states.to(self.dtype)

    def attended(self, states: Tensor) -> Tensor:
        """[B, 77, C]: hidden states through the denoiser's own map of them."""
        mapped: Tensor = self.denoiser.encoder_hid_proj(super().attended(states))
        return mapped

    def predict(self, noised: Tensor, time: Tensor, states: Tensor, *, context: Pass) -> Tensor:
        attention_arguments = {"run": context}
        out: Tensor = self.denoiser(
            noised, time, encoder_hidden_states=states, cross_attention_kwargs=attention_arguments
        ).sample
        return out[:, : noised.shape[1]]

    def enlarged(
        self,
        latents: Tensor,
        states: Tensor,
        empty: Tensor,
        *,
        steps: int,
        guidance: float,
        generators: Sequence[Generator],
    ) -> Tensor:
        """Samples of the first stage, enlarged by the second: [B, 3, h, w] -> [B, 3, H, W]; unchanged without one."""
        if self.second_stage is None:
            return latents
        with self.at_work(self.second_stage):
            pictures: Tensor = self.second_stage(
                latents, states, empty, steps=steps, guidance=guidance, generators=generators
            )
        return pictures


def load(opening: Opening) -> DeepFloyd:
    """Open the first stage, and the second where the base's folder holds it as stage_2/."""
    tower = Tower(opening.tokenizer(), opening.text_encoder(), PLACES, begins=False, masked=True, lower=True)
    return DeepFloyd(
        opening.name,
        denoiser=opening.network("unet"),
        autoencoder=nn.Identity(),
        towers=[tower],
        scheduler=opening.scheduler(),
        second_stage=_second_stage(opening),
        image_encoder=opening.image_encoder,
    )


def _second_stage(opening: Opening) -> SecondStage | None:
    folder = Path(opening.source) / "stage_2"
    if not folder.is_dir():
        return None
    about: dict[str, Any] = {"device": opening.device, "dtype": opening.dtype, "offline": opening.offline}
    second = Opening(str(folder), index=read_index(str(folder)), **about)
    scheduler = second.scheduler()
    fixed = {"variance_type": "fixed_small"} if "variance_type" in scheduler.config else {}
    scheduler = type(scheduler).from_config(scheduler.config, **fixed)
    stage = SecondStage(second.network("unet"), scheduler, second.scheduler("image_noising_scheduler"))
    return stage.requires_grad_(False).eval()
