"""People who are not the subject, captioned by their age."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from limner.core.recipe import Source
from limner.core.types import Batch

from .class_pictures import class_pictures

if TYPE_CHECKING:
    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import Streams

AGES = ("child", "teenager", "young adult", "middle-aged person", "elderly person", "old person")
"""The six ages that arXiv:2307.08585 captions other people with."""


def people_by_age(subject: Subject, *, count: int = 64, batch: int = 4) -> Source:
    """Batches of pictures of other people, captioned "a photo of a" and what each is: one of the first `count` of the
    people that come with a base, by their nouns, which say the age; of a base without people, pictures that it paints
    itself of AGES.

    subject: whom they are not
    count: people, or painted pictures
    batch: pictures in an update
    """
    painted = class_pictures(subject, count=count, captions=[f"a photo of a {age}" for age in AGES], batch=batch)

    def prepare(base: Base) -> Callable[[int, Streams], Batch]:
        people = base.capabilities.people
        if people is None:
            return painted.prepare(base)
        import torch

        from .corpus import Shelf

        shelf = Shelf(people, base, few=True)
        lines: Sequence[Sequence[int]] = people.subjects[:count]

        def draw(step: int, at: Streams) -> Batch:
            whose = torch.randint(len(lines), (batch,), generator=at("who")).tolist()
            places = torch.rand(batch, generator=at("which")).tolist()
            chosen = [lines[who][int(x * len(lines[who]))] for who, x in zip(whose, places, strict=True)]
            return Batch(shelf.latents(chosen), tuple(said_age(people.noun(k)) for k in chosen))

        return draw

    return Source("people by age", "class", prepare)


def said_age(noun: str) -> str:
    """The caption of a person who is called by a noun: "a photo of an adult".

    noun: such as "child"
    """
    return f"a photo of {'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"
