"""Denoising with masks of the subject."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.core.recipe import Objective
from limner.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Step
    from limner.core.recipe import Source


def sometimes_masked(source: Source, *, share: float = 0.5) -> Objective:
    """Denoising with its mean over the subject alone in some rows, and over the whole picture in the others.

    Source: Sec. 4.1 of arXiv:2312.04461; the released training of arXiv:2305.10431 does the same. Raises `InputError`
    without masks.

    source: batches with masks
    share: probability that a row's mask counts, from 0 to 1
    """

    def value(step: Step) -> Tensor:
        import torch

        error, _ = step.adapted.base.error(step.prediction.output, step.target)
        mask = _mask(step, source)
        chosen = torch.rand(len(mask), generator=step.random("masked")) < share
        counts = torch.where(chosen.to(mask.device).view(-1, 1, 1, 1), mask, torch.ones_like(mask)).expand_as(error)
        each = (error * counts).sum((1, 2, 3)) / counts.sum((1, 2, 3)).clamp_min(1)
        mean: Tensor = each.mean()
        return mean

    return Objective(f"sometimes masked({source.name})", source, value)


def class_outside(source: Source, prompt: str) -> Objective:
    """Denoising inside of masks; outside, the target is the untouched base's prediction for a prompt of the class.

    Nothing of the surroundings can be learned (class-guided denoising regularisation, Eq. 5 of arXiv:2403.05094).
    Raises `InputError` without masks.

    source: batches with masks
    prompt: prompt of the class, "a person"; {noun} is the class of each row's references
    """

    def value(step: Step) -> Tensor:
        import torch

        mask, references = _mask(step, source), step.batch.references
        nouns = references.nouns if references is not None and references.nouns else ("person",) * len(mask)
        usual = step.base_prediction([prompt.format(noun=noun) for noun in nouns]).output
        wanted = torch.lerp(usual.float(), step.target.float(), mask.float())
        mean: Tensor = (step.prediction.output.float() - wanted).square().mean()
        return mean

    return Objective(f"class outside({source.name})", source, value)


def _mask(step: Step, source: Source) -> Tensor:
    """[B, 1, h, w]"""
    mask = step.batch.mask
    if mask is None:
        raise InputError(f"{source.name} gives no masks, which this objective needs")
    return mask
