"""Guidance by what a change of the network adds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.types import Denoiser, Guidance


def adapter_guidance(scale: float, *, begin: int = 800) -> Guidance:
    """negative + w (plain - negative) + scale * (text - plain), where "plain" is a branch that the change does not touch and
    w the user's scale; the last term acts from time `begin` down (style guidance, Eq. 8 of arXiv:2405.01536).

    At scale 0 this is classifier-free guidance of the base.
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
