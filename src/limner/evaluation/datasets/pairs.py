"""Held-out pairs of toys, with the prompts of the world's task "pairs" and a region for each toy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from limner.errors import InputError
from limner.evaluation.datasets import Member
from limner.pocket import SIZE

from .toys import STANDARD, pictured

if TYPE_CHECKING:
    from PIL import Image

    from limner.core.regions import Box
    from limner.pocket.world.graph import Individual
    from limner.pocket.world.prompts import TaskPrompt

PAIRS = ((0, 1), (2, 3), (4, 5), (0, 2), (1, 4), (3, 5))
"""Pairs of numbers of standard toys; the toys of a pair are of different classes."""

LEFT, RIGHT, TOP, BOTTOM = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0), (0.0, 0.0, 1.0, 0.5), (0.0, 0.5, 1.0, 1.0)
STANDING: dict[str, tuple[Box, Box]] = {
    "on": (TOP, BOTTOM), "upside down on": (TOP, BOTTOM), "inside": (TOP, BOTTOM), "under": (BOTTOM, TOP),
    "behind": (RIGHT, LEFT),
}  # fmt: skip
"""Relation -> regions of the first and the second toy, as `pocket.world.relations` places them. Other relations have
the left and the right half."""


@dataclass(frozen=True)
class Pair:
    """Two toys, their prompts, and a region for each toy and prompt."""

    name: str
    members: tuple[Member, Member]
    prompts: tuple[TaskPrompt, ...]
    toys: tuple[Individual, Individual] = field(repr=False, compare=False)
    encoder: ClassVar[str] = "identity"  # role of the encoder that tells them apart
    faces: ClassVar[None] = None  # toys are found by their classes

    def regions(self, prompt: TaskPrompt, handles: Sequence[str]) -> dict[str, Any]:
        """Handle -> region of its toy, by the prompt's relation."""
        where = STANDING.get(prompt.truth.get("relation", ""), (LEFT, RIGHT))
        return dict(zip(handles, where, strict=True))

    def judged_regions(self) -> tuple[Any, ...]:
        """None: toys of different classes are found by their classes."""
        return ()

    def answers(self, seeds: Sequence[int]) -> list[Image.Image]:
        """Ground-truth renders for every prompt, one for each seed, prompt by prompt."""
        from limner.pocket.world.prompts import answer

        return pictured(
            [answer(prompt, self.toys, seed=1000 * k + s) for k, prompt in enumerate(self.prompts) for s in seeds]
        )

    def alone(self, number: int) -> list[str]:
        """Prompts for one of the two toys alone, with {} for the subject: one for each scene of the pair's prompts."""
        from limner.pocket.world.grammar import PLACES

        scenes: Mapping[str, None] = dict.fromkeys(prompt.truth["scene"] for prompt in self.prompts)
        return [f"{{}} {PLACES[scene][0]}" for scene in scenes]


def pairs(*, split: str = "held-out", count: int = 3, prompts: int = 6, size: int = SIZE) -> tuple[Pair, ...]:
    """Pairs of toys and their prompts.

    split: "held-out" for judging, "dev" for choosing settings
    count: number of pairs
    prompts: number of prompts; relations take turns, so fewer prompts than relations leave some out
    size: side of the pictures, in pixels

    Raises `InputError` for another split, and for numbers out of range.
    """
    from limner.pocket.world import CORE, SPLITS, individual
    from limner.pocket.world.prompts import prompts as asked

    if split not in ("dev", "held-out"):
        raise InputError(f"pairs to judge by come from the splits dev and held-out, not {split!r}")
    every = asked("pairs", split)  # type: ignore[arg-type]  # one of the two
    if not 1 <= count <= len(PAIRS) or not 1 <= prompts <= len(every):
        raise InputError(f"there are {len(PAIRS)} pairs and {len(every)} prompts; asked for {count} and {prompts}")
    subject_pairs = []
    for chosen in PAIRS[:count]:
        toys = [
            individual(STANDARD[k][0], SPLITS[split].start + STANDARD[k][1], patterns=CORE.patterns) for k in chosen
        ]
        first, second = (_member(toy, STANDARD[k][1], size) for toy, k in zip(toys, chosen, strict=True))
        subject_pairs.append(
            Pair(f"{first.name} and {second.name}", (first, second), every[:prompts], (toys[0], toys[1]))
        )
    return tuple(subject_pairs)


def _member(toy: Individual, number: int, size: int) -> Member:
    from limner.pocket.world import references

    shown = pictured([*references(toy, 4), *references(toy, 4, seed=1)], size)
    return Member(f"{toy.kind}-{number}", toy.kind, "object", images=tuple(shown[:4]), held_out=tuple(shown[4:]))
