"""PixArt-Sigma (arXiv:2403.04692): T5, and a transformer with cross-attention that predicts noise and its variance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from limner.bases.common.attention import host_sites
from limner.bases.common.family import Family
from limner.bases.common.opening import Opening
from limner.bases.common.paths import Diffusion
from limner.bases.common.states import longest, pack, rows_of, unpack
from limner.bases.common.text import Tower
from limner.core.types import Pass

PLACES = 300


class PixArt(Diffusion, Family):
    """Hidden states are T5's for the prompt in lower case, with a mask. The predicted variance is not used."""

    family = "pixart"
    reads_states_unchanged = False

    def __init__(self, name: str, **parts: Any) -> None:
        super().__init__(name, **parts)
        self.sites = host_sites(self.denoiser)

    @property
    def states_shape(self) -> tuple[int, int]:
        return (length := self.text_positions) + rows_of(length, wide := int(self.towers[0].model.config.d_model)), wide

    @property
    def text_positions(self) -> int:
        return self.towers[0].length

    def text_states(self, prompts: Sequence[str], *, words: Mapping[str, Tensor]) -> Tensor:
        """[B, L + rows, D]: hidden states, and the mask of positions that hold text in the last rows."""
        out, mask = self._read(self.towers[0], prompts, words)
        return pack(out.last_hidden_state, mask=mask).to(self.dtype)

    def attended(self, states: Tensor) -> Tensor:
        """[B, 300, C]: hidden states through the denoiser's own map of captions; a batch's attention reads as many
        positions as its longest prompt has."""
        states, mapping = super().attended(states), self.denoiser.caption_projection
        mapped: Tensor = states if mapping is None else mapping(states)
        return mapped

    def predict(self, noised: Tensor, time: Tensor, states: Tensor, *, context: Pass) -> Tensor:
        sequence, _, mask = unpack(states, self.text_positions, masked=True)
        assert mask is not None
        most = longest(mask)
        out: Tensor = self.denoiser(
            noised,
            encoder_hidden_states=sequence[:, :most],
            encoder_attention_mask=mask[:, :most].to(noised),
            timestep=time,
            added_cond_kwargs={"resolution": None, "aspect_ratio": None},
            cross_attention_kwargs={"run": context},
        ).sample
        return out[:, : noised.shape[1]]


def load(opening: Opening) -> PixArt:
    """Open a pipeline of this family."""
    t5 = opening.tokenizer(), opening.text_encoder()
    return PixArt(
        opening.name,
        denoiser=opening.network("transformer"),
        autoencoder=opening.network("vae"),
        towers=[Tower(*t5, PLACES, begins=False, masked=True, lower=True)],
        scheduler=opening.scheduler(),
        image_encoder=opening.image_encoder,
    )
