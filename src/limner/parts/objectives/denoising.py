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


def denoising_error(
    step: Step, *, by_weight: bool = True, weights: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """The value of `denoising` on a step's own batch.

    step: the training step
    by_weight: whether rows count by the batch's weights
    weights: weights [B] of rows in the place of the batch's
    smoothing: share of all tokens alike in the target of a cross-entropy
    """
    error, counts = step.adapted.base.error(step.prediction.output, step.target)  # [B, C, h, w]
    if smoothing and step.adapted.base.predicts == "tokens":
        even = -step.prediction.output.float().log_softmax(1).mean(1, keepdim=True)
        error = (1 - smoothing) * error + smoothing * even
    mask, weight = step.batch.mask, (step.batch.weight if by_weight else None) if weights is None else weights
    if counts is not None:  # rows differ in their number of masked tokens
        element_weights = counts if mask is None else counts * (mask > 0.5)
        element_weights = element_weights if weight is None else element_weights * weight.view(-1, 1, 1, 1)
        total: Tensor = (error * element_weights).sum() / element_weights.sum().clamp_min(1e-6)
        return total
    each = _row_means(error, mask)
    mean: Tensor = each.mean() if weight is None else (each * weight).sum() / weight.sum()
    return mean


def _row_means(error: Tensor, mask: Tensor | None) -> Tensor:
    """[B]: the mean error of each row, over its mask."""
    if mask is None:
        return error.mean(dim=(1, 2, 3))
    return (error * mask).sum(dim=(1, 2, 3)) / (mask.sum(dim=(1, 2, 3)) * error.shape[1]).clamp_min(1)


def scaled_denoising(source: Source) -> Objective:
    """`denoising` in which every row's error is multiplied by its weight: rows of small weight teach little, also where
    a whole batch is of them.

    source: batches with weights, which may change from update to update (`scheduled`) or from row to row
    """

    def value(step: Step) -> Tensor:
        weight = step.batch.weight
        if weight is None or bool((weight == weight[0]).all()):
            error = denoising_error(step, by_weight=False)
            return error if weight is None else error * weight.mean()
        return denoising_error(step) * weight.mean()  # the weighted mean, times the weights' sum over their number

    return Objective(f"denoising({source.name})", source, value, any_target=True)


def suppressed_denoising(source: Source, *, below: float, floor: float = 0.0) -> Objective:
    """`denoising` with less weight on rows of little noise, where the fine details of pictures are learned.

    It is the high-frequency suppressor of Inv-ReVersion (Applied Sciences 14(8):3338), whose form is not published: the
    weight rises linearly from `floor` at time 0 to 1 at the share `below` of the times. Raises `ValueError` unless
    0 <= floor <= 1 and 0 <= below <= 1.

    source: batches of pictures with captions
    below: share of the times, from 0 (clean pictures) to 1, below which rows count less
    floor: weight at time 0
    """
    if not (0 <= floor <= 1 and 0 <= below <= 1):
        raise ValueError(f"weight and share of the times are from 0 to 1, not {floor} and {below}")

    def value(step: Step) -> Tensor:
        share = step.time.float() / step.adapted.base.num_train_times
        weights = floor + (1 - floor) * (share / max(below, 1e-6)).clamp(0, 1)
        return denoising_error(step, weights=weights) * weights.mean()

    return Objective(f"denoising({source.name})", source, value, any_target=True, across=True)


def penalty(source: Source, *, name: str, of: Callable[[Any], Tensor]) -> Objective:
    """A term on the adapted base rather than on a prediction, such as the distance of a token from its start.

    source: gives step and random stream
    name: the term's name in the log
    of: adapted base -> scalar
    """
    return Objective(name, source, lambda step: of(step.adapted), any_target=True)
