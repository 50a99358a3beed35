"""Class images, sampled from the base before it is changed: prior preservation."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from limner.core.interrupts import take_break
from limner.core.recipe import Source
from limner.core.types import Batch

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import Streams


def class_pictures(
    subject: Subject,
    *,
    count: int = 64,
    captions: Sequence[str] | Callable[[Base], Sequence[str]] = ("a photo of a {}",),
    batch: int = 4,
    training_caption: str = "",
) -> Source:
    """Batches of class images (Sec. 3.3 of arXiv:2208.12242).

    They are sampled once; their latents are cached on disk by the base's fingerprint, the prompts, the count and the
    sampler's settings.

    subject: gives the class noun
    count: number of class images
    captions: prompts that they are sampled with, with {} for the class noun, or a function of the base that gives them
    batch: pictures in an update
    training_caption: caption that they are trained with; empty for the prompt that each was sampled with
    """

    def prepare(base: Base) -> Callable[[int, Streams], Batch]:
        import torch

        templates = captions(base) if callable(captions) else captions
        prompts = tuple(caption.format(subject.noun) for caption in templates)
        latents = painted(base, prompts, count)

        def draw(step: int, at: Streams) -> Batch:
            rows = torch.randint(count, (batch,), generator=at("order"))
            texts = tuple(training_caption or prompts[row % len(prompts)] for row in rows.tolist())
            return Batch(latents[rows].to(base.device, base.dtype), texts)

        return draw

    return Source("class pictures", "class", prepare)


def prior_note(weight: float, count: int) -> tuple[str, ...]:
    """Notes for the user on the wait before the first update, while class images are sampled.

    weight: weight of prior preservation; 0 samples none
    count: number of class images
    """
    return (f"first the base paints {count} pictures of the class; they are kept for the next time",) if weight else ()


def painted(base: Base, prompts: Sequence[str], count: int) -> Tensor:
    """[count, C, h, w] in single precision: latents of class images, from the cache or sampled now, in batches that are
    cached one by one: an interrupted sampling goes on with the batch that is missing.

    base: the base with nothing attached
    prompts: prompts, in turn
    count: number of pictures
    """
    import torch

    from limner.core.cache import cached_tensors
    from limner.engine.attach import attach
    from limner.engine.sample import PaintSettings, sample

    settings = PaintSettings(batch=32)

    def make(start: int, texts: Sequence[str]) -> dict[str, Tensor]:
        seeds = range(start, start + len(texts))
        with torch.no_grad(), attach(base, ()) as adapted:
            for at in sample(adapted, texts, seeds=seeds, settings=settings):
                latents = at.latents
                take_break(is_base_free=True)
        return {"latents": latents.float().cpu()}

    texts = [prompts[k % len(prompts)] for k in range(count)]
    batches = {start: tuple(texts[start : start + settings.batch]) for start in range(0, count, settings.batch)}
    key = ("class pictures", base.fingerprint, str(base.dtype), repr(settings))
    parts = [
        cached_tensors((*key, start, rows), functools.partial(make, start, rows))["latents"]
        for start, rows in batches.items()
    ]
    return torch.cat(parts)
