"""Forward processes between latents and noise: diffusion (predicting noise or velocity), and flow."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
)
from torch import Generator, Tensor

from limner.core.base import Predicts
from limner.errors import InputError, UnknownName

DIFFUSION: dict[str, Any] = {
    "ddim": DDIMScheduler,
    "ddpm": DDPMScheduler,
    "dpm": DPMSolverMultistepScheduler,
    "euler": EulerDiscreteScheduler,
}


PREDICTS: dict[str, Predicts] = {"epsilon": "noise", "v_prediction": "velocity"}
"""A scheduler's prediction type in diffusers -> its name in limner."""


class Diffusion:
    """x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps, predicting eps or v."""

    samplers: ClassVar[tuple[str, ...]] = tuple(DIFFUSION)
    scheduler_config: dict[str, Any]

    @property
    def schedule(self) -> DDPMScheduler:
        if "_schedule" not in self.__dict__:
            self.__dict__["_schedule"] = DDPMScheduler.from_config(self.scheduler_config)
        schedule: DDPMScheduler = self.__dict__["_schedule"]
        return schedule

    @property
    def num_train_times(self) -> int:
        return int(self.schedule.config.num_train_timesteps)

    @property
    def predicts(self) -> Predicts:
        """Raises `InputError` for a scheduler's prediction type that is neither noise nor velocity."""
        kind = str(self.schedule.config.prediction_type)
        if kind not in PREDICTS:
            raise InputError(
                f"a diffusion base predicts one of {', '.join(PREDICTS)}, but this base's scheduler says {kind!r}"
            )
        return PREDICTS[kind]

    def draw_times(self, count: int, generator: Generator) -> Tensor:
        """[count] training times, drawn uniformly."""
        return torch.randint(self.num_train_times, (count,), generator=generator)

    def noised(self, latents: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps (Eq. 4 of arXiv:2006.11239)."""
        noised_latents: Tensor = self.schedule.add_noise(latents, noise, time.long())
        return noised_latents

    def target(self, latents: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """Target of the denoiser's prediction: the noise, or v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x_0
        (arXiv:2202.00512)."""
        if self.predicts == "noise":
            return noise
        velocity: Tensor = self.schedule.get_velocity(latents, noise, time.long())
        return velocity

    def x0(self, noised: Tensor, output: Tensor, time: Tensor) -> Tensor:
        """The clean latents that a prediction implies."""
        alpha_bar = self.schedule.alphas_cumprod.to(noised)[time.long()].view(-1, 1, 1, 1)
        signal, sigma = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
        if self.predicts == "noise":
            return (noised - sigma * output) / signal
        return signal * noised - sigma * output

    def noise_of(self, noised: Tensor, output: Tensor, time: Tensor) -> Tensor:
        """The noise that a prediction implies."""
        if self.predicts == "noise":
            return output
        alpha_bar = self.schedule.alphas_cumprod.to(noised)[time.long()].view(-1, 1, 1, 1)
        return alpha_bar.sqrt() * output + (1 - alpha_bar).sqrt() * noised

    def spread(self, scheduler: Any, step: int) -> float:
        """Ratio of a sampler's latents to x_t: 1 / sqrt(alpha_bar) for Euler, whose latents are x_0 + sigma eps (Eq. 17
        of arXiv:2206.00364), else 1."""
        if not isinstance(scheduler, EulerDiscreteScheduler):
            return 1.0
        return float((scheduler.sigmas[step].double() ** 2 + 1) ** 0.5)

    def scheduler(self, name: str = "", *, steps: int) -> Any:
        """A new sampler with this base's noise schedule.

        name: "ddim", "ddpm", "dpm" (DPM-Solver++ 2M) or "euler"; empty takes "ddim"
        steps: number of sampling steps
        """
        name = name or "ddim"
        if name not in DIFFUSION:
            raise UnknownName("sampler", name, DIFFUSION)
        extra: dict[str, Any] = {"clip_sample": False} if name in ("ddim", "ddpm") else {}
        if self.scheduler_config.get("variance_type") in ("learned", "learned_range"):
            # A base returns the predicted noise alone, without the predicted variance.
            extra["variance_type"] = "fixed_small"
        sampler = DIFFUSION[name].from_config(self.schedule.config, **extra)
        sampler.set_timesteps(steps)
        return sampler


class Flow:
    """x_t = (1 - sigma) x_0 + sigma eps, predicting eps - x_0 (rectified flow, arXiv:2209.03003). A time is 1000
    sigma."""

    samplers: ClassVar[tuple[str, ...]] = ("flow",)
    density: ClassVar[str] = "uniform"
    """Density of training times before the schedule's shift: "uniform" or "logit_normal"."""
    scheduler_config: dict[str, Any]
    num_train_times = 1000
    predicts: Predicts = "flow"

    @property
    def schedule(self) -> FlowMatchEulerDiscreteScheduler:
        if "_schedule" not in self.__dict__:
            self.__dict__["_schedule"] = FlowMatchEulerDiscreteScheduler.from_config(self.scheduler_config)
        schedule: FlowMatchEulerDiscreteScheduler = self.__dict__["_schedule"]
        return schedule

    def draw_times(self, count: int, generator: Generator) -> Tensor:
        """[count] training times out of the schedule's thousand, drawn uniformly or from a logit-normal density (Sec.
        3.1 of arXiv:2403.03206)."""
        if self.density == "logit_normal":
            share = torch.randn(count, generator=generator).sigmoid()
        else:
            share = torch.rand(count, generator=generator)
        times: Tensor = self.schedule.timesteps[(share * len(self.schedule.timesteps)).long()].float()
        return times

    def noised(self, latents: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        sigma = self._sigma(latents, time)
        return (1 - sigma) * latents + sigma * noise

    def target(self, latents: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        return noise - latents

    def x0(self, noised: Tensor, output: Tensor, time: Tensor) -> Tensor:
        return noised - self._sigma(noised, time) * output

    def noise_of(self, noised: Tensor, output: Tensor, time: Tensor) -> Tensor:
        return noised + (1 - self._sigma(noised, time)) * output

    def scheduler(self, name: str = "", *, steps: int) -> Any:
        """A new Euler sampler along the flow.

        name: "flow" or empty
        steps: number of sampling steps
        """
        if name not in ("", "flow"):
            raise UnknownName("sampler", name, self.samplers)
        sampler = FlowMatchEulerDiscreteScheduler.from_config(self.scheduler_config)
        sampler.set_timesteps(**self._steps(steps))
        return sampler

    def _steps(self, steps: int) -> dict[str, Any]:
        """Arguments with which the family's pipeline sets the scheduler's timesteps."""
        return {"num_inference_steps": steps}

    def _sigma(self, like: Tensor, time: Tensor) -> Tensor:
        return (time.to(like) / self.num_train_times).view(-1, *(1 for _ in like.shape[1:]))


def linear_shift(config: dict[str, Any], places: int, *, most: float = 1.15) -> float:
    """The shift of a flow's times, linear in the number of positions (FLUX).

    config: the scheduler's settings, which hold both ends of the line
    places: number of positions (patch tokens) of the picture
    most: upper shift where the settings name none
    """
    first, last = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    low, high = config.get("base_shift", 0.5), config.get("max_shift", most)
    slope = (high - low) / (last - first)
    return float(places * slope + low - slope * first)


def falling(steps: int) -> list[float]:
    """Sigmas from 1 to 1 / steps."""
    import numpy as np

    return list(np.linspace(1.0, 1 / steps, steps))
