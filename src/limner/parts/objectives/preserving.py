"""Reconstruction of the subject, and of its class beside it, so that the class is not forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from limner.parts.sources.class_pictures import class_pictures
from limner.parts.sources.photos import photos

from .denoising import denoising

if TYPE_CHECKING:
    from limner.core.recipe import Objective, Source
    from limner.core.subject import Subject


def preserving(
    subject: Subject, *, weight: float, count: int, batch: int, own: Source | None = None, captions: Sequence[str] = ()
) -> tuple[Objective, Objective]:
    """Denoising of the subject's photos (or of `own`) plus `weight` times that of `count` pictures of its class,
    painted for these captions.

    Source: prior preservation, Eq. 2 of arXiv:2208.12242.
    """
    more: dict[str, Any] = {"captions": captions} if captions else {}
    prior = denoising(class_pictures(subject, count=count, batch=batch, **more))
    return denoising(own or photos(subject, batch=batch)), weight * prior
