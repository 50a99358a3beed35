"""Guidance along the difference that an adapter makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.types import Denoiser, Guidance


def adapter_guidance(scale: float, *, begin: int = 800) -> Guidance:
    """negative + w (plain - negative) + scale * (text - plain): style guidance, Eq. 8 of arXiv:2405.01536.

    "plain" is a branch without the adapter, and w the user's guidance scale. At scale 0 this is classifier-free
    guidance of the base.

    scale: weight of the adapter's difference
    begin: largest diffusion time at which the last term acts
    """

    def guidance(denoise: Denoiser, w: float) -> Denoiser:
        def guided(x: Tensor, t: Tensor, *, branches: tuple[str, ...] = ("text",)) -> tuple[Tensor, ...]:
            if not scale or float(t[0]) > begin:
                negative, plain = denoise(x, t, branches=("negative", "plain"))
                return (negative + w * (plain - negative),)
            negative, plain, text = denoise(x, t, branches=("negative", "plain", "text"))
            return (negative + w * (plain - negative) + scale * (text - plain),)

        return guided

    return guidance
