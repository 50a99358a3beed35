"""Held-out garments with people in other clothes who try them on: the same people in the garment are the answers."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from limner.core.subject import Subject
from limner.errors import InputError

from .conditions import ROOM, images_of

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from limner.evaluation.measuring import Images
    from limner.pocket.world.graph import Garment, SceneGraph

KINDS = ("shirt", "sweater", "t-shirt", "jacket", "dress", "overalls")
"""The kind of garment of each case. The first one has a pattern, since the smallest bench has it alone."""
FIRST, PEOPLE, OTHERS = 40, 8_000, 9_000
"""Numbers within the split: the first garment that may be a case's, the first picture of people, and the first garment
that the people of the sources have on."""
REFERENCES = 4
FIGURES = 8
"""Most people of a case."""


@dataclass(frozen=True)
class GarmentCase:
    """One garment, and a person to put it on for every prompt."""

    name: str
    noun: str  # the kind of garment
    looks: str  # the same with its colours and pattern
    scenes: tuple[str, ...]  # one for each prompt
    references: Images = field(repr=False, compare=False)  # the garment on other people
    outlines: Images = field(repr=False, compare=False)  # the mask of the garment in each of them
    sources: Images = field(repr=False, compare=False)
    answered: Images = field(repr=False, compare=False)  # the sources' people in the garment
    garment_masks: Tensor = field(repr=False, compare=False)  # [P, H, W] of 0 and 1: the garment in each answer
    changeable: Tensor = field(repr=False, compare=False)  # [P, H, W] of 0 and 1: where each source may change

    def subject(self, handle: str) -> Subject:
        """The garment to learn, with its masks."""
        return Subject.of(list(self.references), noun=self.noun, handle=handle, masks=list(self.outlines))

    def texts(self, garment: str) -> list[str]:
        """The prompts with a handle or words for the garment."""
        from limner.pocket.world.grammar import PLACES

        return [f"a person in {garment} {PLACES[scene][0]}" for scene in self.scenes]

    def answers(self, _condition: str, seeds: Sequence[int]) -> list[Image.Image]:
        """Ground-truth renders for every prompt, repeated for each seed, prompt by prompt."""
        return [image for image in self.answered for _ in seeds]


def garment_cases(*, split: str = "held-out", count: int = 3, prompts: int = 4) -> tuple[GarmentCase, ...]:
    """Garments and the people who try them on. No training sees a garment, a person or a picture of these splits.

    split: "held-out" for judging, "dev" for choosing settings
    count: number of garments
    prompts: number of people for each

    Raises `InputError` for another split, and for numbers out of range.
    """
    if split not in ("dev", "held-out"):
        raise InputError(f"garments to judge by come from the splits dev and held-out, not {split!r}")
    for wanted, most, noun in ((count, len(KINDS), "garments"), (prompts, FIGURES, "prompts")):
        if not 1 <= wanted <= most:
            raise InputError(f"there are {most} {noun}; asked for {wanted}")
    return tuple(_case(split, number, prompts) for number in range(count))


@functools.lru_cache(maxsize=8)
def _case(split: str, number: int, prompts: int) -> GarmentCase:
    """A garment with its pictures; kept, since a bench opens its cases many times."""
    import torch.nn.functional as F

    from limner.pocket.garment_corpus import in_garment
    from limner.pocket.world import CORE, SPLITS, draw
    from limner.pocket.world.garments import garment

    start, most = SPLITS[split].start, REFERENCES + FIGURES
    seed = next(k for k in range(start + FIRST, start + OTHERS) if garment(k).kind == KINDS[number])
    cloth = garment(seed, patterns=CORE.patterns)
    people = [start + PEOPLE + most * number + k for k in range(REFERENCES + prompts)]
    others = [garment(start + OTHERS + most * number + k, patterns=CORE.patterns) for k in range(prompts)]
    before = [in_garment(other, k, split=split) for other, k in zip(others, people[REFERENCES:], strict=True)]
    shown = draw([in_garment(cloth, k, split=split) for k in people[:REFERENCES]])
    source, answer = draw(before), draw([_dressed(graph, cloth) for graph in before])
    after, taken_off = _clothes(answer.part), _clothes(source.part)
    region = F.max_pool2d((after + taken_off).clamp(max=1)[:, None], 2 * ROOM + 1, 1, ROOM)[:, 0]
    return GarmentCase(
        f"{cloth.kind}-{seed - start}",
        cloth.kind,
        looks_of(cloth),
        tuple(graph.scene for graph in before),
        references=images_of(shown.pixels),
        outlines=images_of((_clothes(shown.part) * 255).byte()[:, None].expand(-1, 3, -1, -1)),
        sources=images_of(source.pixels),
        answered=images_of(answer.pixels),
        garment_masks=after,
        changeable=region,
    )


def looks_of(cloth: Garment) -> str:
    """A garment in words, as the captions of the world have it: "red and white striped sweater"."""
    first, second = cloth.colours
    coloured = first if cloth.pattern == "plain" else f"{first} and {second} {cloth.pattern}"
    return f"{coloured} {cloth.kind}"


def _dressed(graph: SceneGraph, cloth: Garment) -> SceneGraph:
    """The same picture with its one person in this garment."""
    return replace(graph, people=(replace(graph.people[0], garment=cloth),))


def _clothes(part: Tensor) -> Tensor:
    """[B, H, W] of 0 and 1: the garment, from the numbers of parts."""
    from limner.pocket.world.faces import PARTS

    return (part.long() == PARTS.index("garment")).float()
