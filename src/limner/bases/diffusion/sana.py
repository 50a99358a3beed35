"""Sana (arXiv:2410.10629): Gemma 2 as text encoder, linear self-attention, a flow over latents 32 times smaller than
the picture."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from limner.bases.common.attention import Choice, host_sites
from limner.bases.common.family import Family
from limner.bases.common.joint import Held, NormedAcrossHost
from limner.bases.common.opening import Opening
from limner.bases.common.paths import Flow
from limner.bases.common.states import pack, rows_of, unpack
from limner.bases.common.text import Tower
from limner.core.types import Pass

PLACES = 300


class Sana(Flow, Family):
    """Hidden states are those of the begin token and of the last 299 positions. Linear self-attention has no maps and
    hence no sites: operations act in cross-attention. An empty prompt is read without the instruction that precedes all
    other prompts."""

    family = "sana"
    reads_states_unchanged = False

    def __init__(self, name: str, **parts: Any) -> None:
        super().__init__(name, **parts)
        self.held = Held()
        choose: Choice = lambda _, layer: (  # noqa: E731 - a choice is a function of two arguments
            ("cross", lambda site: NormedAcrossHost(site, self.held)) if layer.is_cross_attention else None
        )
        self.sites = host_sites(self.denoiser, choose)

    @property
    def _factor(self) -> int:
        return int(2 ** (len(self.autoencoder.config.encoder_block_out_channels) - 1))

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        with self.at_work(self.autoencoder):
            latents = self.autoencoder.encode((2 * pixels - 1).to(self.device, self.autoencoder.dtype)).latent
        latents = (latents * self._scaling[0]).to(self.dtype).contiguous()
        return latents, torch.zeros_like(latents)

    @property
    def states_shape(self) -> tuple[int, int]:
        return PLACES + rows_of(PLACES, wide := self.towers[0].width), wide

    @property
    def text_positions(self) -> int:
        return PLACES

    def text_states(self, prompts: Sequence[str], *, words: Mapping[str, Tensor]) -> Tensor:
        """[B, L + rows, D]: hidden states, and the mask of positions that hold text in the last rows."""
        instructed, bare = self.towers
        rows = []
        for prompt in prompts:
            tower = instructed if prompt else bare
            with self.at_work(tower.model):
                out, mask = tower.read([prompt], words)
            sequence = out.last_hidden_state
            chosen = [0, *range(sequence.shape[1] - PLACES + 1, sequence.shape[1])]
            rows.append(pack(sequence[:, chosen], mask=mask[:, chosen]))
        return torch.cat(rows).to(self.dtype)

    @property
    def _parts(self) -> dict[str, Any]:
        return {"denoiser": self.denoiser, "autoencoder": self.autoencoder, "text_encoder": self.towers[0].model}

    def num_tokens(self, prompt: str, *, words: Mapping[str, Tensor]) -> int:
        return len(self.towers[1].ids(prompt, words)[0])

    def word_vectors(self, text: str) -> Tensor:
        tower = self.towers[1]
        ids = torch.tensor(tower.vectors_of(text), dtype=torch.long, device=tower.table.device)
        return tower.table[ids].clone().to(self.device)

    @property
    def word_widths(self) -> list[int]:
        return [self.towers[0].width]

    def word_table(self) -> Tensor:
        return self.towers[0].table

    def word_places(self, prompt: str, word: str, *, words: Mapping[str, Tensor]) -> list[int]:
        cut = self.towers[0].length - PLACES
        return [place - cut for place in super().word_places(prompt, word, words=words)]

    def attended(self, states: Tensor) -> Tensor:
        """[B, 300, C]: hidden states through the denoiser's own map of captions, normalised."""
        mapped: Tensor = self.denoiser.caption_norm(self.denoiser.caption_projection(super().attended(states)))
        return mapped

    def num_positions(self, prompt: str, *, words: Mapping[str, Tensor]) -> int:
        return super().num_positions(prompt, words=words) - (self.towers[0].length - PLACES)

    def predict(self, noised: Tensor, time: Tensor, states: Tensor, *, context: Pass) -> Tensor:
        sequence, _, mask = unpack(states, PLACES, masked=True)
        self.held.run = context
        out: Tensor = self.denoiser(
            noised,
            encoder_hidden_states=sequence,
            encoder_attention_mask=mask,
            timestep=time * self.denoiser.config.timestep_scale,
        ).sample
        return out[:, : noised.shape[1]]

    def scheduler(self, name: str = "", *, steps: int) -> Any:
        """A new sampler: by default the family's own, DPM-Solver++ along the flow.

        name: "flow" for Euler's sampler; empty for the default
        steps: number of sampling steps
        """
        if name or self.scheduler_config.get("use_flow_sigmas") is None:
            return super().scheduler(name, steps=steps)
        from diffusers import DPMSolverMultistepScheduler

        sampler = DPMSolverMultistepScheduler.from_config(self.scheduler_config)
        sampler.set_timesteps(steps)
        return sampler


def instruction() -> str:
    """The instruction that the makers put before every prompt: a part of the model, read from diffusers' pipeline."""
    from diffusers import SanaPipeline

    lines = inspect.signature(SanaPipeline.__call__).parameters["complex_human_instruction"].default
    return "\n".join(lines)


def load(opening: Opening) -> Sana:
    """Open a pipeline of this family."""
    tokenizer, model = opening.tokenizer(), opening.text_encoder()
    before = instruction()
    count = len(tokenizer.encode(before))
    about: dict[str, Any] = {"ends": False, "masked": True, "lower": True, "spaces": "before"}
    towers = [
        Tower(tokenizer, model, count + PLACES - 2, template=lambda prompt: before + prompt, **about),
        Tower(tokenizer, model, PLACES, **about),
    ]
    return Sana(
        opening.name,
        denoiser=opening.network("transformer"),
        autoencoder=opening.network("vae"),
        towers=towers,
        scheduler=opening.scheduler(),
        image_encoder=opening.image_encoder,
    )
