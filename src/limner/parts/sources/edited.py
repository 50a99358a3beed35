"""Portraits that the base paints of people it knows, and edits of them: pairs it makes for itself."""

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
    """Batches of edits to paint, each with a portrait of the same person to see, all made by the untouched base from
    words alone (self-augmented editability data, Sec. 3.3 of arXiv:2307.00300). Captions say the edit.

    The base is asked for people by their famous names where it knows enough of them, and else by the looks that a
    corpus tells. Painted once, and kept in the cache.

    people: how many are painted
    edits: prompts, with {} for the person
    keep: share of edits that are learned from, those in which the portrait's face is known best
    batch: pairs in a batch
    named: what captions call the person, {noun} by their class
    corpus: whose looks are told where no name is known; None is the base's people
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
            said = tuple(edits[k].format(named.format(noun="person")) for k in which)
            shown = References(pixels, nouns=nouns, identity=who, dropped=torch.zeros(batch, dtype=torch.bool))
            return Batch(made["edits"][rows].to(base.device, base.dtype), said, references=shown)

        return draw

    return Source("edited portraits", "corpus", prepare, over=lambda other: again(corpus=other))


def _known(base: Base, corpus: Corpus | None, count: int) -> list[str]:
    """Names or looks by which a base knows people."""
    from limner.parts.modifiers.names import FEWEST, known_names

    from .corpus import looks
    from .people import people_of

    names = known_names(base)
    if len(names) >= FEWEST:
        return names[:count]
    found = corpus or people_of(base)
    told = dict.fromkeys(looks(found, pictures[0]) for pictures in found.subjects[: 4 * count])
    return list(told)[:count]


def _made(base: Base, known: Sequence[str], edits: tuple[str, ...]) -> dict[str, Tensor]:
    """ "portraits" uint8 [n, 3, H, W]; of every person all edits: latents "edits" [n * edits, C, h, w], and the cosine
    of their faces to the portrait's "alike" [n * edits]."""
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
