"""Pictures with captions, for objectives that align pictures and texts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from limner.core.recipe import Source
from limner.core.types import Batch, References

if TYPE_CHECKING:
    from limner.core.base import Base
    from limner.core.corpus import Corpus
    from limner.core.types import Streams


def captioned(*, batch: int = 32, corpus: Corpus | None = None) -> Source:
    """Batches of pictures of different subjects; each picture is its own reference, captioned with its subject's looks.

    A corpus without descriptions captions by class.

    batch: pictures in an update
    corpus: pictures to draw from; None is the base's own
    """

    def prepare(base: Base) -> Callable[[int, Streams], Batch]:
        import torch

        from .corpus import Shelf, corpus_of, looks

        training_corpus = corpus_of(base, corpus)
        shelf, subjects = Shelf(training_corpus, base), training_corpus.subjects

        def draw(step: int, at: Streams) -> Batch:
            whose = torch.randperm(len(subjects), generator=at("who"))[:batch].tolist()
            places = torch.rand(len(whose), generator=at("pictures")).tolist()
            chosen = [subjects[who][int(x * len(subjects[who]))] for who, x in zip(whose, places, strict=True)]
            captions = tuple(
                training_corpus.caption(k, looks(training_corpus, k), seed=step * batch + n)
                for n, k in enumerate(chosen)
            )
            masks, marks = shelf.masks(chosen), shelf.landmarks(chosen)
            shown = References(
                shelf.pixels(chosen)[:, None],
                None if masks is None else masks[:, None],
                tuple((text,) for text in captions),
                tuple(training_corpus.noun(k) for k in chosen),
                torch.tensor(whose),
                landmarks=None if marks is None else marks[:, None],
            )
            return Batch(shelf.latents(chosen), captions, references=shown, landmarks=marks)

        return draw

    return Source("captioned", "corpus", prepare, over=lambda other: captioned(batch=batch, corpus=other))
