"""Portraits that the base samples of people it knows, and edits of them: pairs of its own making."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from limner.core.recipe import Source
from limner.core.types import Batch, References

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base
    from limner.core.corpus import Corpus
    from limner.core.types import Streams

EDITS = (
    "{} on the beach",
    "{} in the snow wearing a hat",
    "{} in the city, smiling",
    "{} in the kitchen wearing glasses",
)
"""Prompts of edits, with {} for the person."""


def edited_portraits(
    *,
    people: int = 32,
    edits: Sequence[str] = EDITS,
    keep: float = 0.5,
    batch: int = 8,
    named: str = "{noun}",
    corpus: Corpus | None = None,
) -> Source:
    """Batches of edits as targets, each with a portrait of the same person as reference, all sampled from the untouched
    base.

    This is self-augmented editability data (Sec. 3.3 of arXiv:2307.00300). The captions are the edits' prompts. People
    are named by famous names where the base knows enough of them, otherwise by looks from a corpus. All pictures are
    sampled once and cached.

    people: number of people
    edits: prompts, with {} for the person
    keep: share of edits to train on, those whose face is most similar to the portrait's, from 0 to 1
    batch: pairs in a batch
    named: the person in captions, with {noun} for the class
    corpus: looks of people for a base that knows too few names; None is the base's own people
    """
    again = functools.partial(edited_portraits, people=people, edits=edits, keep=keep, batch=batch, named=named)

    def prepare(base: Base) -> Callable[[int, Streams], Batch]:
        import torch

        made = _made(base, _known(base, corpus, people), tuple(edits))
        best = made["alike"].topk(max(1, round(keep * len(made["alike"])))).indices

        def draw(step: int, at: Streams) -> Batch:
            rows = best[torch.randint(len(best), (batch,), generator=at("who"))]
            who, which = rows // len(edits), (rows % len(edits)).tolist()
            pixels = made["portraits"][who].to(base.device).float()[:, None] / 255
            nouns = ("person",) * batch
            captions = tuple(edits[k].format(named.format(noun="person")) for k in which)
            shown = References(pixels, nouns=nouns, identity=who, dropped=torch.zeros(batch, dtype=torch.bool))
            return Batch(made["edits"][rows].to(base.device, base.dtype), captions, references=shown)

        return draw

    return Source("edited portraits", "corpus", prepare, over=lambda other: again(corpus=other))


def _known(base: Base, corpus: Corpus | None, count: int) -> list[str]:
    """Names or looks of people that a base knows."""
    from limner.parts.modifiers.names import FEWEST, known_names

    from .corpus import looks
    from .people import people_of

    names = known_names(base)
    if len(names) >= FEWEST:
        return names[:count]
    people_corpus = corpus or people_of(base)
    descriptions = dict.fromkeys(looks(people_corpus, pictures[0]) for pictures in people_corpus.subjects[: 4 * count])
    return list(descriptions)[:count]


def _made(base: Base, known: Sequence[str], edits: tuple[str, ...]) -> dict[str, Tensor]:
    """Tensors of all portraits and edits.

    "portraits" uint8 [n, 3, H, W]; of every person all edits: latents "edits" [n * edits, C, h, w], and the cosine of
    their faces with the portrait's "alike" [n * edits].
    """
    import torch

    from limner.core.cache import cached_tensors
    from limner.parts.encoders.faces import face_embedding

    from .class_pictures import painted

    def make() -> dict[str, Tensor]:
        first = [f"a portrait of {name}" for name in known]
        then = [edit.format(name) for name in known for edit in edits]
        latents = painted(base, (*first, *then), len(first) + len(then))
        with torch.no_grad():
            pixels = torch.cat(
                [base.decode(part.to(base.device, base.dtype)).float().cpu() for part in latents.split(16)]
            )
            faces = torch.cat([face_embedding(base, part.to(base.device)).float().cpu() for part in pixels.split(16)])
        whose = faces[: len(first)].repeat_interleave(len(edits), 0)
        alike = torch.cosine_similarity(faces[len(first) :], whose, dim=-1)
        portraits = (pixels[: len(first)].clamp(0, 1) * 255).round().byte().contiguous()
        return {"portraits": portraits, "edits": latents[len(first) :].contiguous(), "alike": alike}

    key: tuple[Any, ...] = ("edited portraits", base.fingerprint, str(base.dtype), tuple(known), edits)
    return cached_tensors(key, make)
