"""Reconstruction of the subject with prior preservation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from limner.parts.sources.class_pictures import class_pictures
from limner.parts.sources.photos import photos

from .denoising import denoising

if TYPE_CHECKING:
    from limner.core.base import Base
    from limner.core.recipe import Objective, Source
    from limner.core.subject import Subject


def preserving(
    subject: Subject,
    *,
    weight: float,
    count: int,
    batch: int,
    own: Source | None = None,
    captions: Sequence[str] | Callable[[Base], Sequence[str]] = (),
) -> tuple[Objective, Objective]:
    """Denoising of the subject's pictures plus a multiple of that of class images (Eq. 2 of arXiv:2208.12242).

    subject: the subject
    weight: weight of the class images; 0 leaves them out
    count: number of class images
    batch: pictures in an update, of each kind
    own: batches in place of the subject's pictures
    captions: prompts of the class images, or a function of the base that gives them; empty for the default
    """
    more: dict[str, Any] = {"captions": captions} if captions else {}
    prior = denoising(class_pictures(subject, count=count, batch=batch, **more))
    return denoising(own or photos(subject, batch=batch)), weight * prior
