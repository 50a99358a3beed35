"""References with a concept word, which names the part of the picture to use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from limner.core.recipe import Source
from limner.errors import InputError

if TYPE_CHECKING:
    from limner.core.base import Base
    from limner.core.corpus import Corpus
    from limner.core.types import Batch, Streams


def shown_for(source: Source, inside: str, outside: str, *, share: float = 0.5) -> Source:
    """The same source, with each reference captioned by one concept and masked to it.

    The concept is inside the subject's mask or around it (the concept words of arXiv:2312.02521, where faces mask out
    everything else). Raises `InputError` without masks.

    source: batches with references and masks
    inside: the concept within the mask, "face"
    outside: the concept outside of it, "clothes"
    share: probability of the concept inside the mask, from 0 to 1
    """

    def prepare(base: Base) -> Callable[[int, Streams], Batch]:
        import torch

        inner = source.prepare(base)

        def draw(step: int, at: Streams) -> Batch:
            batch = inner(step, at)
            shown = batch.references
            if shown is None or shown.masks is None:
                raise InputError(f"{source.name} gives no masks, which the concept words of references need")
            within = torch.rand(len(shown), generator=at("concepts")) < share
            masks = torch.where(within.view(-1, 1, 1, 1, 1).to(shown.masks.device), shown.masks, 1 - shown.masks)
            count = shown.pixels.shape[1]
            captions = tuple((inside if own else outside,) * count for own in within.tolist())
            return replace(batch, references=replace(shown, masks=masks, captions=captions))

        return draw

    again = source.over

    def over(corpus: Corpus) -> Source:
        assert again is not None
        return shown_for(again(corpus), inside, outside, share=share)

    return replace(source, prepare=prepare, over=over if again else None)
