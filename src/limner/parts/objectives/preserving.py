"""Reconstruction of the subject, and of its class beside it, so that the class is not forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.parts.sources.class_pictures import class_pictures
from limner.parts.sources.photos import photos

from .denoising import denoising

if TYPE_CHECKING:
    from limner.recipe import Objective, Source
    from limner.subject import Subject


def preserving(
    subject: Subject, *, weight: float, count: int, batch: int, own: Source | None = None
) -> tuple[Objective, Objective]:
    """Denoising of the subject's photos (or of `own`) plus `weight` times that of `count` pictures of its class.

    Source: prior preservation, Eq. 2 of arXiv:2208.12242.
    """
    prior = denoising(class_pictures(subject, count=count, batch=batch))
    return denoising(own or photos(subject, batch=batch)), weight * prior
