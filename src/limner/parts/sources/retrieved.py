"""A target and its nearest neighbours in a corpus: batches for retrieval-augmented models."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from limner.core.recipe import Source
from limner.core.types import Batch
from limner.parts.encoders.clip import clip_global

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base
    from limner.core.corpus import Corpus
    from limner.core.types import Streams
    from limner.parts.encoders.looks import Encoder


def retrieved(
    *,
    batch: int = 16,
    neighbours: int = 2,
    named: str = "a {noun}",
    drop_text: float = 0.1,
    drop_image: float = 0.1,
    encoder: Encoder = clip_global,
    corpus: Corpus | None = None,
) -> Source:
    """Batches of targets, each with its nearest pictures of the corpus, without itself, and their captions.

    Neighbours follow Sec. 3.3 of arXiv:2209.14491, through CLIP: nearness is the cosine of features, of the masked
    subjects where the corpus has masks (whole pictures are near when their scene is the same). Text and neighbours are
    dropped independently. Raises `InputError` for a corpus of too few pictures or too many.

    batch: targets in an update
    neighbours: neighbours of each target
    named: the subject in captions, with {noun} for its class
    drop_text: probability of an empty caption, from 0 to 1
    drop_image: probability of no neighbours, from 0 to 1
    encoder: pixels [B, 3, H, W] -> features [B, D]
    corpus: pictures to draw from; None draws from the base's own
    """
    about = {"batch": batch, "neighbours": neighbours, "drop_text": drop_text, "drop_image": drop_image}
    again = functools.partial(retrieved, named=named, encoder=encoder, **about)  # type: ignore[arg-type]  # one table

    def prepare(base: Base) -> Callable[[int, Streams], Batch]:
        import torch
        import torch.nn.functional as F

        from limner.errors import InputError

        from .corpus import KEPT, Shelf, corpus_of

        training_corpus = corpus_of(base, corpus)
        shelf, whose = (
            Shelf(training_corpus, base),
            [who for who, own in enumerate(training_corpus.subjects) for _ in own],
        )
        if not neighbours < len(whose) or not shelf.whole:
            raise InputError(
                f"retrieval needs more than {neighbours} and at most {KEPT:,} pictures; the corpus "
                f"{training_corpus.name} has {len(whose):,}"
            )
        name = getattr(encoder, "__name__", type(encoder).__name__)
        features = F.normalize(shelf.features(name, encoder, plain=True), dim=-1)

        def draw(step: int, at: Streams) -> Batch:
            chosen = torch.randint(len(whose), (batch,), generator=at("who"))
            lines = nearest(features, chosen, neighbours).tolist()
            quiet, dropped = (torch.rand(batch, generator=at(what)) for what in ("text", "image"))
            targets = chosen.tolist()
            captions = [
                ""
                if q < drop_text
                else training_corpus.caption(k, named.format(noun=training_corpus.noun(k)), seed=step * batch + n)
                for n, (k, q) in enumerate(zip(targets, quiet.tolist(), strict=True))
            ]
            shown = shelf.references(
                lines, nouns=[training_corpus.noun(k) for k in targets], dropped=dropped < drop_image
            )
            return Batch(shelf.latents(targets), tuple(captions), references=shown)

        return draw

    return Source("retrieved", "corpus", prepare, over=lambda other: again(corpus=other))


def nearest(features: Tensor, chosen: Tensor, count: int) -> Tensor:
    """[n, count]: numbers of the nearest pictures to each chosen one, without itself.

    features: [N, D], of length 1
    chosen: numbers [n]
    count: neighbours of each
    """
    near = features[chosen] @ features.T
    near[range(len(chosen)), chosen] = -float("inf")
    return near.topk(count, 1).indices
