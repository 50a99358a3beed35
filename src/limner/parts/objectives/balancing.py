"""Balanced learning of several subjects: the worst one learns, the others stay as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.core.recipe import Objective
from limner.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Step
    from limner.core.recipe import Source


def worst_subject(source: Source, subjects: int) -> Objective:
    """Masked denoising of the subject with the largest loss alone (sample-wise min-max, Sec. 3.3 of arXiv:2410.13370).

    Rows of the other subjects get no gradient from it. The k-th rows of all subjects are compared with each other, and
    the value is the mean over k. Each row's loss is the mean over its mask, so that a small component can be the worst;
    in a mean over the whole picture it would seldom be. Raises `InputError` without masks.

    source: batches with masks, the rows of one subject after those of another, an equal number of each
    subjects: number of subjects
    """

    def value(step: Step) -> Tensor:
        return _losses(step, source, subjects).amax(0).mean()

    return Objective(f"worst subject({source.name})", source, value, any_target=True, across=True)


def momentum_consistency(source: Source, subjects: int) -> Objective:
    """Masked squared difference between the predictions of the denoiser and of its exponential moving average, over the
    rows of all subjects but the worst one (selective preserving, Sec. 3.3 of arXiv:2410.13370).

    The stage needs `momentum`. Raises `InputError` without masks.

    source: batches as in `worst_subject`
    subjects: number of subjects
    """

    def value(step: Step) -> Tensor:
        import torch

        losses = _losses(step, source, subjects).detach()
        others = torch.ones_like(losses).scatter(0, losses.argmax(0, keepdim=True), 0.0).flatten()
        apart = (step.prediction.output.float() - step.momentum_prediction().output.float()).square()
        return (_over_mask(apart, _mask(step, source)) * others).sum() / others.sum().clamp_min(1)

    return Objective(f"momentum consistency({source.name})", source, value, across=True)


def _losses(step: Step, source: Source, subjects: int) -> Tensor:
    """[subjects, rows of each]: masked denoising errors."""
    error, counts = step.adapted.base.error(step.prediction.output, step.target)
    mask = _mask(step, source)
    if len(mask) % subjects:
        raise InputError(f"{source.name} gives {len(mask)} rows, which are no equal number for {subjects} subjects")
    return _over_mask(error, mask if counts is None else mask * counts).view(subjects, -1)


def _over_mask(values: Tensor, mask: Tensor) -> Tensor:
    """[B]: the mean of values [B, C, h, w] over a mask [B, 1, h, w]."""
    return (values * mask).sum((1, 2, 3)) / (mask.sum((1, 2, 3)) * values.shape[1]).clamp_min(1)


def _mask(step: Step, source: Source) -> Tensor:
    """[B, 1, h, w]"""
    mask = step.batch.mask
    if mask is None:
        raise InputError(f"{source.name} gives no masks, which this objective needs")
    return mask
