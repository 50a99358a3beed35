"""Classifier-free guidance (Ho & Salimans, arXiv:2207.12598)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from limner.recipe import Denoiser


def classifier_free(denoise: Denoiser, scale: float) -> Denoiser:
    """negative + scale * (text - negative), Eq. 6 with w = scale - 1. At scale 1 the negative branch is never run."""

    def guided(x: Tensor, t: Tensor, *, branches: tuple[str, ...] = ("text",)) -> tuple[Tensor, ...]:
        if scale == 1:
            return denoise(x, t)
        negative, text = denoise(x, t, branches=("negative", "text"))
        return (negative + scale * (text - negative),)

    return guided
