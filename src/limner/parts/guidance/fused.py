"""A mixture of two guided predictions: of the recipe's prompt and of plain words (UMM-Diffusion, arXiv:2303.09319)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.types import Denoiser, Guidance


def fused_guidance(alpha: float, *, branch: str = "plain") -> Guidance:
    """alpha * guided(text) + (1 - alpha) * guided(branch), both guided against the negative branch by the user's scale.

    At alpha 0 this is classifier-free guidance of that branch alone, at 1 of the text alone; neither runs the other.
    Raises `InputError` outside of 0 to 1.

    alpha: share of the prompt with the subject, 0 to 1
    branch: name of a branch that the recipe adds, whose prompts do not name the subject
    """
    from limner.errors import InputError

    if not 0 <= alpha <= 1:
        raise InputError(f"alpha mixes two predictions and must be from 0 to 1, not {alpha:g}")
    shares = {name: share for name, share in (("text", alpha), (branch, 1 - alpha)) if share}

    def guidance(denoise: Denoiser, scale: float) -> Denoiser:
        def guided(x: Tensor, t: Tensor, *, branches: tuple[str, ...] = ("text",)) -> tuple[Tensor, ...]:
            if scale == 1:
                predictions = denoise(x, t, branches=tuple(shares))
            else:
                negative, *seen = denoise(x, t, branches=("negative", *shares))
                predictions = tuple(negative + scale * (one - negative) for one in seen)
            return (predictions[0] if len(predictions) == 1 else _mixed(predictions, tuple(shares.values())),)

        return guided

    return guidance


def _mixed(predictions: tuple[Tensor, ...], shares: tuple[float, ...]) -> Tensor:
    first, second = (share * prediction for share, prediction in zip(shares, predictions, strict=True))
    return first + second
