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


def two_strengths(scale: float) -> Guidance:
    """text + scale * (text - plain) + (w - 1) * (plain - negative): guidance of StyleDrop (arXiv:2306.00983).

    "plain" has the prompt of "text" (`same_prompt`) and "negative" is the unconditional branch; the adapter acts in
    neither of them. w is the user's guidance scale, so that lambda_B of the paper is w - 1. At scale -1 this is
    classifier-free guidance of the base, and the branch with the adapter is not run; at w = 1 the negative one is not.

    scale: lambda_A, the weight of the adapter's difference beside the adapter's own prediction
    """

    def guidance(denoise: Denoiser, w: float) -> Denoiser:
        def guided(x: Tensor, t: Tensor, *, branches: tuple[str, ...] = ("text",)) -> tuple[Tensor, ...]:
            wanted = (*(("negative",) if w != 1 else ()), "plain", *(("text",) if scale != -1 else ()))
            by_name = dict(zip(wanted, denoise(x, t, branches=wanted), strict=True))
            plain = by_name["plain"]
            base = by_name["negative"] + w * (plain - by_name["negative"]) if w != 1 else plain
            return (base if scale == -1 else base + (1 + scale) * (by_name["text"] - plain),)

        return guided

    return guidance


def same_prompt(prompt: str) -> str:
    """The prompt of the branch "plain": that of "text".

    prompt: the prompt
    """
    return prompt
