"""Reconstruct the source's pictures through the base: the one objective nearly every method shares."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from limner.recipe import Objective

if TYPE_CHECKING:
    from torch import Tensor

    from limner.recipe import Source, Step


def denoising(source: Source) -> Objective:
    """Mean squared error between prediction and target, Eq. 14 of arXiv:2006.11239 (noise) or its velocity form.

    Where a batch has a mask, the mean is over what the mask keeps; where it has weights, examples count by them.
    """
    return Objective(f"denoising({source.name})", source, _squared_error)


def _squared_error(step: Step) -> Tensor:
    error = (step.prediction.output.float() - step.target.float()) ** 2  # [B, C, h, w]
    mask, weight = step.batch.mask, step.batch.weight
    if mask is None:
        each = error.mean(dim=(1, 2, 3))
    else:
        each = (error * mask).sum(dim=(1, 2, 3)) / (mask.sum(dim=(1, 2, 3)) * error.shape[1]).clamp_min(1)
    mean: Tensor = each.mean() if weight is None else (each * weight).sum() / weight.sum()
    return mean


def penalty(source: Source, *, name: str, of: Callable[[Any], Tensor]) -> Objective:
    """A term that looks at the worn base rather than at a prediction, such as a pull of a word to where it began."""
    return Objective(name, source, lambda step: of(step.worn))
