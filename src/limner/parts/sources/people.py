"""References and a target picture of one person: batches for pre-training face encoders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from limner.core.recipe import Source
from limner.errors import InputError

from .pairs import pairs

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base
    from limner.core.corpus import Corpus
    from limner.core.types import Batch, Streams

TRIES = 8
"""Largest number of captions that are tried until one is short enough."""


def pairs_of_people(*, name: str = "pairs of people", spare: int = 4, people: int = 0, **about: Any) -> Source:
    """`pairs` of the base's corpus of people, or of another given to the pre-training, with captions that leave room.

    name: name of the source; sources of another name draw other pictures
    spare: tokens of the text encoder's room that captions leave free, for tokens with several vectors
    people: number of people to use, the first of the corpus; 0 is all
    about: further arguments of `pairs`
    """

    def prepare(base: Base) -> Callable[[int, Streams], Batch]:
        return pairs(corpus=Short(people_of(base), base, spare, people), name=name, **about).prepare(base)

    def over(corpus: Corpus) -> Source:
        def prepare(base: Base) -> Callable[[int, Streams], Batch]:
            return pairs(corpus=Short(corpus, base, spare, people), name=name, **about).prepare(base)

        return Source(name, "corpus", prepare, over=over)

    return Source(name, "corpus", prepare, over=over, corpus=people_of)


def people_of(base: Base) -> Corpus:
    """The corpus of people that comes with a base. Raises `InputError` where none comes with it.

    base: the base
    """
    corpus = base.capabilities.people
    if corpus is None:
        raise InputError(
            f"this method is trained on pictures of many people, and none come with {base.name}: name a corpus "
            "(--corpus FOLDER)"
        )
    return corpus


def references_to_paint(source: Source, caption: str) -> Source:
    """Another source's batches, whose first reference of every row is itself the picture to paint, without a mask.

    source: batches with references
    caption: of every picture; a row without text stays without
    """

    def prepare(base: Base) -> Callable[[int, Streams], Batch]:
        import torch

        drawing = source.prepare(base)

        def draw(step: int, at: Streams) -> Batch:
            batch = drawing(step, at)
            assert batch.references is not None
            with torch.no_grad():
                latents = base.encode(batch.references.first.to(base.device))[0].to(base.dtype)
            prompts = tuple(caption if text else "" for text in batch.prompts)
            return replace(batch, latents=latents, prompts=prompts, mask=None, landmarks=None, conditions={})

        return draw

    def over(corpus: Corpus) -> Source:
        assert source.over is not None
        return references_to_paint(source.over(corpus), caption)

    return replace(source, name=f"{source.name}, painted", prepare=prepare, over=over if source.over else None)


def without_references(source: Source) -> Source:
    """Another source's batches of captioned pictures, without the references.

    source: batches with references
    """

    def prepare(base: Base) -> Callable[[int, Streams], Batch]:
        drawing = source.prepare(base)
        return lambda step, at: replace(drawing(step, at), references=None)

    def over(corpus: Corpus) -> Source:
        assert source.over is not None
        return without_references(source.over(corpus))

    name = f"{source.name}, text alone"
    return replace(source, name=name, prepare=prepare, over=over if source.over else None)


@dataclass(frozen=True)
class Short:
    """A corpus whose captions are short enough for a base.

    A picture's caption is the first of up to TRIES that leaves room, otherwise "a photo of" and the name.

    corpus: the corpus
    base: the base whose text encoder reads the captions
    spare: tokens that captions leave free
    people: number of people to use, the first of the corpus; 0 is all
    """

    corpus: Corpus
    base: Base
    spare: int
    people: int = 0

    @property
    def name(self) -> str:
        return self.corpus.name

    @property
    def fingerprint(self) -> str:
        return self.corpus.fingerprint + (f", the first {self.people}" if self.people else "")

    @property
    def record(self) -> Mapping[str, Any]:
        return self.corpus.record

    @property
    def subjects(self) -> Sequence[Sequence[int]]:
        return self.corpus.subjects[: self.people or None]

    def __getattr__(self, name: str) -> Any:
        """Facts that the corpus may have beside: landmarks, their names, which is which in a mirror."""
        return getattr(object.__getattribute__(self, "corpus"), name)

    def noun(self, picture: int) -> str:
        return self.corpus.noun(picture)

    def looks(self, picture: int) -> str:
        from .corpus import looks

        return looks(self.corpus, picture)

    def caption(self, picture: int, name: str, *, seed: int) -> str:
        room = self.base.max_tokens - self.spare
        for number in range(TRIES):
            text = self.corpus.caption(picture, name, seed=seed + number * 1_000_003)
            if self.base.num_tokens(text, words={}) <= room:
                return text
        return f"a photo of {name}"

    def drawn(self, pictures: Sequence[int], size: int) -> tuple[Tensor, Tensor | None]:
        return self.corpus.drawn(pictures, size)
