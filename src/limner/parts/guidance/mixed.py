"""Guidance whose condition is a mixture of several branches (Face0, arXiv:2306.06638)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from limner.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.types import Denoiser, Guidance


def mixed_conditions(weights: Mapping[str, float]) -> Guidance:
    """negative + w (c - negative), where c is the weighted mean of the branches and w the user's scale.

    The branch "text" has the rest of the weights to 1 (arXiv:2306.06638). Without weights on other branches this is
    classifier-free guidance, and none of them is run. Raises `InputError` for weights below 0 or with a sum above 1.

    weights: branch of the recipe -> its weight, each from 0, with a sum of at most 1
    """
    if min(weights.values(), default=0.0) < 0 or sum(weights.values()) > 1 + 1e-9:
        raise InputError(f"conditions are mixed by weights from 0 that come to 1 at most, not {dict(weights)}")
    shares = {"text": 1 - sum(weights.values()), **weights}
    shares = {branch: share for branch, share in shares.items() if abs(share) > 1e-9}

    def guidance(denoise: Denoiser, w: float) -> Denoiser:
        def guided(x: Tensor, t: Tensor, *, branches: tuple[str, ...] = ("text",)) -> tuple[Tensor, ...]:
            negative, *seen = (
                denoise(x, t, branches=("negative", *shares)) if w != 1 else (x, *denoise(x, t, branches=tuple(shares)))
            )
            mixed = seen[0] if len(seen) == 1 else _sum(seen, tuple(shares.values()))
            return (mixed if w == 1 else negative + w * (mixed - negative),)

        return guided

    return guidance


def _sum(seen: list[Tensor], shares: tuple[float, ...]) -> Tensor:
    total = shares[0] * seen[0]
    for one, share in zip(seen[1:], shares[1:], strict=True):
        total = total + share * one
    return total
