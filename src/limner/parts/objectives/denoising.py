"""Reconstruct the source's pictures through the base: the one objective nearly every method shares."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from limner.core.recipe import Objective

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Step
    from limner.core.recipe import Source


def denoising(source: Source, *, smoothing: float = 0.0) -> Objective:
    """Mean squared error between prediction and target, Eq. 14 of arXiv:2006.11239.

    The prediction is noise, or its velocity or flow form; on a base of masked tokens the loss is their cross-entropy.
    With a mask in the batch, the mean is over the mask; with weights, rows count by them.

    source: batches of pictures with captions
    smoothing: share of all tokens alike in the target of a cross-entropy (label smoothing), from 0 to below 1; a base
        that does not predict tokens ignores it
    """
    value = functools.partial(denoising_error, smoothing=smoothing) if smoothing else denoising_error
    return Objective(f"denoising({source.name})", source, value, any_target=True)


def denoising_error(step: Step, *, by_weight: bool = True, smoothing: float = 0.0) -> Tensor:
    """The value of `denoising` on a step's own batch.

    step: the training step
    by_weight: whether rows count by the batch's weights
    smoothing: share of all tokens alike in the target of a cross-entropy
    """
    error, counts = step.adapted.base.error(step.prediction.output, step.target)  # [B, C, h, w]
    if smoothing and step.adapted.base.predicts == "tokens":
        even = -step.prediction.output.float().log_softmax(1).mean(1, keepdim=True)
        error = (1 - smoothing) * error + smoothing * even
    mask, weight = step.batch.mask, step.batch.weight if by_weight else None
    if counts is not None:  # rows differ in their number of masked tokens
        element_weights = counts if mask is None else counts * (mask > 0.5)
        element_weights = element_weights if weight is None else element_weights * weight.view(-1, 1, 1, 1)
        total: Tensor = (error * element_weights).sum() / element_weights.sum().clamp_min(1e-6)
        return total
    if mask is None:
        each = error.mean(dim=(1, 2, 3))
    else:
        each = (error * mask).sum(dim=(1, 2, 3)) / (mask.sum(dim=(1, 2, 3)) * error.shape[1]).clamp_min(1)
    mean: Tensor = each.mean() if weight is None else (each * weight).sum() / weight.sum()
    return mean


def scaled_denoising(source: Source) -> Objective:
    """`denoising` times the weight of its batch, for a loss whose weight changes from update to update.

    source: batches with a weight that all of their rows share, such as `scheduled`
    """

    def value(step: Step) -> Tensor:
        error = denoising_error(step, by_weight=False)
        return error if step.batch.weight is None else error * step.batch.weight.mean()

    return Objective(f"denoising({source.name})", source, value, any_target=True)


def penalty(source: Source, *, name: str, of: Callable[[Any], Tensor]) -> Objective:
    """A term on the adapted base rather than on a prediction, such as the distance of a token from its start.

    source: gives step and random stream
    name: the term's name in the log
    of: adapted base -> scalar
    """
    return Objective(name, source, lambda step: of(step.adapted), any_target=True)
