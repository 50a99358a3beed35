"""Denoising whose gradient reaches only the channels of a token that belong to an action, not to its context."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from limner.core.recipe import Objective
from limner.parts.sources.triplets import CAPTIONS, SAME_ACTION, SAME_CONTEXT

from .denoising import denoising_error

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Modifier, Step
    from limner.core.recipe import Source
    from limner.core.subject import Subject


def action_denoising(source: Source, subject: Subject, word: Modifier, *, blocked: float) -> Objective:
    """The denoising loss of the anchors, whose gradient is masked by that of the other pictures of their triplets.

    All three pictures of a triplet have the same noise and time, and each its own caption; the one of the same context
    has its anchor's, so that its loss depends on the token. Only the modifier's parameters learn by this objective
    (Sec. 3.2 of arXiv:2311.15841).

    source: batches of `action_triplets`
    subject: the action with its captioned pictures
    word: the modifier with the token's vectors [..., D]
    blocked: share of the channels that each of the two comparisons blocks, from 0 to 1
    """

    def value(step: Step) -> Tensor:
        import torch

        batch = step.batch
        texts = tuple(subject.pictures[k].caption for k in batch.gathered[CAPTIONS].tolist())
        others = (
            replace(batch, latents=batch.gathered[SAME_ACTION], prompts=texts),
            replace(batch, latents=batch.gathered[SAME_CONTEXT]),
        )
        own = [t for t in step.adapted.live[word].tensors.values() if t.requires_grad]
        loss = denoising_error(step)
        anchor, action, context = (
            torch.autograd.grad(error, own) for error in (loss, *(denoising_error(step.on(other)) for other in others))
        )
        total: Tensor = loss.detach()
        for parameter, slopes in zip(own, zip(anchor, action, context, strict=True), strict=True):
            part = (parameter * slopes[0] * action_channels(*slopes, blocked=blocked)).sum()
            total = total + part - part.detach()
        return total

    return Objective(f"action denoising({source.name})", source, value, across=True)


def action_channels(anchor: Tensor, action: Tensor, context: Tensor, *, blocked: float) -> Tensor:
    """[..., D] bool: the channels of gradients that belong to an action.

    For every vector, a share of the channels is blocked in which anchor and same action differ most, and a share in
    which anchor and same context differ least.

    anchor: gradient of the loss of a picture of the action, [..., D]
    action: the same for another picture of the action
    context: the same for a picture of the same context without the action
    blocked: share of the channels that each comparison blocks, from 0 to 1
    """
    count = round(blocked * anchor.shape[-1])
    places = [
        (anchor - action).abs().argsort(-1, descending=True)[..., :count],
        (anchor - context).abs().argsort(-1)[..., :count],
    ]
    free = anchor.new_ones(anchor.shape)
    for place in places:
        free = free.scatter(-1, place, 0)
    return free.bool()
