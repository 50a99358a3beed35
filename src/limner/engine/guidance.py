"""Classifier-free guidance (Ho & Salimans, arXiv:2207.12598)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.types import Denoiser


def classifier_free(denoise: Denoiser, scale: float) -> Denoiser:
    """negative + scale * (text - negative), Eq. 6 with w = scale - 1. At scale 1 the negative branch is not run."""

    def guided(x: Tensor, t: Tensor, *, branches: tuple[str, ...] = ("text",)) -> tuple[Tensor, ...]:
        if scale == 1:
            return denoise(x, t)
        negative, text = denoise(x, t, branches=("negative", "text"))
        return (negative + scale * (text - negative),)

    return guided


def norm_preserving(denoise: Denoiser, scale: float) -> Denoiser:
    """Classifier-free guidance whose result has the norm of the text branch's prediction, over the channels of each
    two by two positions (Qwen-Image's sampler, arXiv:2508.02324)."""

    def guided(x: Tensor, t: Tensor, *, branches: tuple[str, ...] = ("text",)) -> tuple[Tensor, ...]:
        if scale == 1:
            return denoise(x, t)
        negative, text = denoise(x, t, branches=("negative", "text"))
        prediction = negative + scale * (text - negative)
        return (prediction * (_length(text) / _length(prediction)),)

    return guided


def _length(x: Tensor) -> Tensor:
    """[B, C, h, w] -> norms [B, 1, h, w], equal within each two by two positions."""
    import torch.nn.functional as F

    squares = F.avg_pool2d((x**2).sum(1, keepdim=True), 2) * 4
    return F.interpolate(squares, scale_factor=2, mode="nearest").sqrt()
