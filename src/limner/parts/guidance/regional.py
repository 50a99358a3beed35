"""Regionally-guided sampling: other prompts outside of the subjects' regions (PACGen, arXiv:2306.17154)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from limner.engine.guidance import classifier_free

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.types import Denoiser, Guidance


@dataclass(frozen=True)
class guided_by_region:
    """Classifier-free guidance inside of the subjects' regions, guidance from one branch to another outside of them.

    With the user's scale w, the prediction is negative + w (text - negative) inside and away + w (to - away) outside
    (regionally-guided sampling of arXiv:2306.17154, as we know it from memory). Without regions it is classifier-free
    guidance. Guidances with equal branches are equal, so that several attached concepts can share one.

    to: branch of the recipe, whose prompt also asks for quality
    away: branch of the recipe, whose prompt names the faults to avoid
    """

    to: str = "quality"
    away: str = "faults"

    def __call__(self, denoise: Denoiser, w: float) -> Denoiser:
        return classifier_free(denoise, w)

    def for_regions(self, regions: Mapping[str, Tensor]) -> Guidance:
        """The guidance of a picture whose subjects have these regions: handle -> [1, 1, h, w] in [0, 1]."""
        inside = sum(regions.values()).clamp(0, 1)  # type: ignore[union-attr]  # there is at least one

        def guidance(denoise: Denoiser, w: float) -> Denoiser:
            def guided(x: Tensor, t: Tensor, *, branches: tuple[str, ...] = ("text",)) -> tuple[Tensor, ...]:
                import torch

                if w == 1:
                    text, to = denoise(x, t, branches=("text", self.to))
                    return (torch.lerp(to, text, inside.to(text)),)
                negative, text, away, to = denoise(x, t, branches=("negative", "text", self.away, self.to))
                own, rest = negative + w * (text - negative), away + w * (to - away)
                return (torch.lerp(rest, own, inside.to(own)),)

            return guided

        return guidance
