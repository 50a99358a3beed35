"""Triplets of pictures that tell an action from its context."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from limner.core.recipe import Source
from limner.core.types import Batch
from limner.errors import InputError

from .class_pictures import painted
from .photos import check_latents

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import Streams

SAME_ACTION, SAME_CONTEXT, CAPTIONS = "same action", "same context", "captions"
"""Names of tensors beside a batch of anchors: latents [B, C, h, w] of the other pictures of each triplet, and the
number [B] of the picture whose caption the one of the same action has."""


def action_triplets(subject: Subject, *, batch: int = 1) -> Source:
    """Batches of captioned pictures of an action, the anchors, with two more pictures for each (`Batch.gathered`).

    One shows the same action in another context, the other the same context without the action (Sec. 3.3 of
    arXiv:2311.15841). Those are `Subject.without`, one for each picture in the same order; where there are none, the
    untouched base paints one from each caption, with the class noun in the handle's place. The source raises
    `InputError` for fewer than two pictures, and for another number of pictures without the action.

    subject: the action with its captioned pictures
    batch: anchors in an update
    """

    def prepare(base: Base) -> Callable[[int, Streams], Batch]:
        import torch

        number, captions = len(subject.pictures), [picture.caption for picture in subject.pictures]
        if number < 2:
            raise InputError(f"there is {number} picture of {subject.handle}: expected two or more, to compare them")
        acts, still = _encoded(base, subject), _still(base, subject)

        def draw(step: int, at: Streams) -> Batch:
            order = torch.cat([torch.randperm(number, generator=at("order")) for _ in range(-(-batch // number))])
            anchors = order[:batch]
            others = (anchors + torch.randint(1, number, (batch,), generator=at("another picture"))) % number
            names, rows = ("latents", SAME_ACTION, SAME_CONTEXT), ((acts, anchors), (acts, others), (still, anchors))
            latents = {
                name: mean[row] + std[row] * torch.randn(mean[row].shape, generator=at(name)).to(mean)
                for name, ((mean, std), row) in zip(names, rows, strict=True)
            }
            texts = tuple(captions[k] for k in anchors.tolist())
            own = latents.pop("latents").to(base.dtype)
            beside = {name: tensor.to(base.dtype) for name, tensor in latents.items()}
            return Batch(own, texts, gathered={**beside, CAPTIONS: others})

        return draw

    return Source("action triplets", "subject", prepare)


def _still(base: Base, subject: Subject) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the latents of the pictures without the action."""
    import torch

    number = len(subject.pictures)
    if not subject.without:
        texts = tuple(picture.caption.replace(subject.handle, subject.noun) for picture in subject.pictures)
        mean = painted(base, texts, number).to(base.device, base.dtype)
        return mean, torch.zeros_like(mean)
    if len(subject.without) != number:
        raise InputError(
            f"there are {len(subject.without)} pictures without {subject.handle} and {number} with it: give one for each, in "
            "the same order, or none at all"
        )
    return _encoded(base, subject.contrast)


def _encoded(base: Base, subject: Subject) -> tuple[Tensor, Tensor]:
    import torch

    with torch.no_grad():
        mean, std = base.encode(subject.tensor(base.picture_size))
    check_latents(mean, base)
    return mean, std
