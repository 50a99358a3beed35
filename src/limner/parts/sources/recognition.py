"""Pictures of the subject and of its class, to tell apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from limner.core.recipe import Source
from limner.core.types import Batch, References

from .class_pictures import class_pictures

if TYPE_CHECKING:
    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import Streams


def recognition_pictures(subject: Subject, *, count: int = 16, batch: int = 4) -> Source:
    """Batches without latents, whose references are pictures of the subject and, in every second row, class images.

    References' `identity` is 1 for the subject and 0 for the class.

    subject: the subject with its pictures
    count: class images that the untouched base samples first
    batch: pictures in an update, 2 or more
    """
    others = class_pictures(subject, count=count, batch=batch // 2)

    def prepare(base: Base) -> Callable[[int, Streams], Batch]:
        import torch

        drawing, own = others.prepare(base), subject.tensor(base.picture_size)

        def draw(step: int, at: Streams) -> Batch:
            rows = torch.randint(len(own), (batch - batch // 2,), generator=at("order of the subject"))
            with torch.no_grad():
                strangers = base.decode(drawing(step, at).latents).float()
            pixels = torch.cat([own[rows].to(strangers), strangers])
            identity = (torch.arange(batch) < len(rows)).long().to(base.device)
            nothing = torch.zeros(batch, 0, device=base.device, dtype=base.dtype)  # empty latents
            return Batch(nothing, ("",) * batch, references=References(pixels[:, None], identity=identity))

        return draw

    return Source("recognition", "subject", prepare)
