"""Guidance between named branches, and several kinds of it in one sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.core.streams import stream

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.types import Denoiser, Guidance


def between(away: str, to: str = "text", *, scale: float | None = None) -> Guidance:
    """away + scale * (to - away) of two branches; at scale 1, `to` alone.

    away: name of the branch to move away from
    to: name of the branch to move to
    scale: guidance scale; None takes the user's
    """

    def guidance(denoise: Denoiser, w: float) -> Denoiser:
        strength = w if scale is None else scale

        def guided(x: Tensor, t: Tensor, *, branches: tuple[str, ...] = ("text",)) -> tuple[Tensor, ...]:
            if strength == 1:
                return denoise(x, t, branches=(to,))
            less, more = denoise(x, t, branches=(away, to))
            return (less + strength * (more - less),)

        return guided

    return guidance


def interleaved(first: Guidance, second: Guidance, *, share: float) -> Guidance:
    """One guidance at a share of the diffusion times, another at the rest; the time alone decides.

    first: the guidance at that share of the times
    second: the guidance at the others
    share: 0 to 1
    """

    def guidance(denoise: Denoiser, w: float) -> Denoiser:
        one, other = first(denoise, w), second(denoise, w)

        def guided(x: Tensor, t: Tensor, *, branches: tuple[str, ...] = ("text",)) -> tuple[Tensor, ...]:
            import torch

            chosen = float(torch.rand((), generator=stream(0, "interleaved", int(t[0])))) < share
            return (one if chosen else other)(x, t)

        return guided

    return guidance


def picture_then_text(scale: float) -> Guidance:
    """negative + scale (pictures - negative) + w (text - pictures): Eq. 3 of arXiv:2211.09800, as BootPIG samples.

    The branch "pictures" has the reference images and the prompt of "negative"; w is the user's scale. At w = 1 there
    is no guidance.

    scale: guidance scale of the reference images
    """

    def guidance(denoise: Denoiser, w: float) -> Denoiser:
        def guided(x: Tensor, t: Tensor, *, branches: tuple[str, ...] = ("text",)) -> tuple[Tensor, ...]:
            if w == 1:
                return denoise(x, t)
            negative, pictures, text = denoise(x, t, branches=("negative", "pictures", "text"))
            return (negative + scale * (pictures - negative) + w * (text - pictures),)

        return guided

    return guidance
