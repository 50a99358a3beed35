"""Pictures whose surroundings are covered by noise that fades during training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from limner.core.recipe import Source
from limner.core.types import Batch
from limner.errors import InputError
from limner.parts.augmentations.noise import degraded, strength_at

from .joined import joined

if TYPE_CHECKING:
    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import Streams

    from .photos import Masks


def degraded_photos(
    subject: Subject,
    *,
    masks: Masks,
    caption: str,
    strength: float,
    power: float,
    total: int,
    before: int = 0,
    batch: int = 1,
    flip: float = 0.5,
    name: str = "degraded photos",
) -> Source:
    """Batches of a subject's pictures with noise outside of its masks, which fades to none at the last update.

    This is dynamic masked degradation (Sec. 3.2 of arXiv:2410.13370). Pictures are encoded anew at every update. Raises
    `InputError` for a subject without pictures.

    subject: the subject
    masks: base and subject -> [n, 1, H, W] in [0, 1], where the subject is; the loss counts there
    caption: caption of every picture
    strength: standard deviation of the noise at first, for pixels from -1 to 1
    power: exponent of the course; a high one keeps the noise until shortly before the end
    total: updates of all stages that degrade pictures
    before: updates of earlier stages among those
    batch: pictures in an update
    flip: probability of mirroring, from 0 to 1
    name: name of the source
    """

    def prepare(base: Base) -> Callable[[int, Streams], Batch]:
        import torch
        import torch.nn.functional as F

        if not subject.pictures:
            raise InputError(
                f"{subject.handle} has no pictures of its own, which this method learns every subject from: give it some"
            )
        pixels = subject.tensor(base.picture_size)
        with torch.no_grad():
            inside = (masks(base, subject) > 0.5).float().cpu()  # [n, 1, H, W]

        def draw(step: int, at: Streams) -> Batch:
            repeats = -(-batch // len(pixels))
            order = torch.cat([torch.randperm(len(pixels), generator=at("order")) for _ in range(repeats)])[:batch]
            turned = (torch.rand(batch, generator=at("flip")) < flip).view(-1, 1, 1, 1)
            shown, where = (torch.where(turned, each[order].flip(-1), each[order]) for each in (pixels, inside))
            amount = strength_at(before + step + 1, total, strength=strength, power=power)
            with torch.no_grad():
                seen = degraded(shown, where, at("degradation"), amount=amount)
                mean, std = base.encode(seen.to(base.device))
            noise = torch.randn(mean.shape, generator=at("latents")).to(mean)
            counts = F.interpolate(where, base.latent_shape[1:], mode="area").to(mean)
            return Batch((mean + std * noise).to(base.dtype), (caption,) * batch, mask=counts.to(base.dtype))

        return draw

    return Source(name, "subject", prepare)


def degraded_subjects(
    masks: Mapping[Subject, Masks],
    *,
    strength: float,
    power: float,
    total: int,
    before: int = 0,
    batch: int = 1,
) -> Source:
    """Batches of several subjects' degraded pictures, the rows of one after those of another, each captioned by its
    handle and class noun.

    masks: each subject -> its masks
    strength: standard deviation of the noise at first, for pixels from -1 to 1
    power: exponent of the course
    total: updates of all stages that degrade pictures
    before: updates of earlier stages among those
    batch: pictures of each subject in an update
    """
    sources = (
        degraded_photos(
            subject,
            masks=where,
            caption=f"a photo of {subject.handle} {subject.noun}",
            strength=strength,
            power=power,
            total=total,
            before=before,
            batch=batch,
        )
        for subject, where in masks.items()
    )
    return joined(*sources)
