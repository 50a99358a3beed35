"""Texts of a corpus without their pictures, for networks that read alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from limner.core.recipe import Source
from limner.core.types import Batch

if TYPE_CHECKING:
    from limner.core.base import Base
    from limner.core.corpus import Corpus
    from limner.core.types import Streams

MANY = 1 << 30


def corpus_texts(*, batch: int = 64, corpus: Corpus | None = None) -> Source:
    """Batches of texts that the base can read whole, without latents.

    batch: texts in an update
    corpus: corpus of the texts; None is the base's own
    """

    def prepare(base: Base) -> Callable[[int, Streams], Batch]:
        import torch

        from .corpus import corpus_of, text

        training_corpus = corpus_of(base, corpus)
        nothing = torch.zeros(batch, 0, device=base.device, dtype=base.dtype)  # empty latents

        def fitting(number: int) -> str:
            """The text of a number, or of the next whose text is short enough."""
            caption = text(training_corpus, number)
            return caption if base.num_tokens(caption, words={}) <= base.max_tokens else fitting(number + 1)

        def draw(step: int, at: Streams) -> Batch:
            numbers = torch.randint(MANY, (batch,), generator=at("which")).tolist()
            return Batch(nothing, tuple(map(fitting, numbers)))

        return draw

    return Source("texts", "corpus", prepare, over=lambda other: corpus_texts(batch=batch, corpus=other))
