"""Toys of the pocket world as subjects to learn, and prompts to judge them by."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from limner.core.subject import Subject

    from .world.grammar import Prompt

NUM_REFERENCES = 4
DEVELOPMENT = ("dog", 1_000_007)
"""Class and seed of a toy of the development split: neither trained on nor judged by."""


def toy(kind: str, seed: int, *, name: str = "rex", count: int = NUM_REFERENCES, at: int = 0) -> Subject:
    """A toy as a subject, with rendered pictures for photographs. `at` seeds the scenes of its pictures."""
    from limner.core.subject import Subject
    from limner.pocket.world import CORE, draw, individual, references

    who = individual(kind, seed, patterns=CORE.patterns)
    pixels = draw(references(who, count, seed=at)).pixels
    return Subject.of(pixels, noun=kind, handle=name)


def prompts() -> tuple[Prompt, ...]:
    """The ten prompts of the standard bench."""
    from limner.pocket.world import PROMPTS
    from limner.pocket.world.grammar import Prompt

    more = (
        Prompt("{} in the city, from the side", "city", view="side"),
        Prompt(
            "{} on the beach wearing a green hat and sunglasses", "beach", (("hat", "green"), ("sunglasses", "black"))
        ),
    )
    return (*PROMPTS, *more)
