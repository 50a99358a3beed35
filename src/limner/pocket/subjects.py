"""Toys of the pocket world as subjects to learn, and prompts to judge them by."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

    from limner.core.subject import Subject

    from .world.grammar import Prompt

NUM_REFERENCES = 4
DEVELOPMENT = ("dog", 1_000_007)
"""Class and seed of a toy of the development split: neither trained on nor judged by."""


def toy(kind: str, seed: int, *, name: str = "rex", count: int = NUM_REFERENCES, at: int = 0) -> Subject:
    """A toy as a subject: rendered pictures in place of photographs, with their cameras. `at` seeds their scenes."""
    from limner.core.subject import Subject
    from limner.pocket.world import CORE, draw, individual, references, viewpoint

    who = individual(kind, seed, patterns=CORE.patterns)
    graphs = references(who, count, seed=at)
    cameras = [viewpoint(graph) for graph in graphs]
    views = [(math.degrees(around), math.degrees(above), away) for around, above, away in cameras]
    return Subject.of(draw(graphs).pixels, noun=kind, handle=name, views=views)


@functools.cache
def others(noun: str) -> tuple[Image.Image, ...]:
    """Two pictures of each of two toys of a class, from the training split; none for a word that is no class."""
    from limner.pocket.world.vocabulary import CLASSES

    toys = [toy(noun, seed, count=2) for seed in (1, 2)] if noun in CLASSES else []
    return tuple(picture.image for each in toys for picture in each.pictures if picture.image is not None)


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


def table_prompts() -> tuple[Prompt, ...]:
    """Twenty-five prompts for every class, the ten of the standard bench first: eight scenes, thirteen with
    accessories, four views from the side. The judge reads everything that they ask for."""
    from limner.pocket.world.grammar import Prompt

    scenes = (
        ("in the jungle", "jungle"),
        ("in the desert", "desert"),
        ("in the kitchen", "kitchen"),
        ("in a meadow", "meadow"),
    )
    dressed = (
        ("in the snow wearing a yellow scarf", "snow", (("scarf", "yellow"),)),
        ("on the beach wearing sunglasses", "beach", (("sunglasses", "black"),)),
        ("in the city wearing a purple hat", "city", (("hat", "purple"),)),
        ("under the night sky wearing a crown", "night sky", (("crown", "red"),)),
        ("in a meadow wearing a green hat", "meadow", (("hat", "green"),)),
        ("in the kitchen wearing a blue hat", "kitchen", (("hat", "blue"),)),
        ("in the jungle wearing a red scarf", "jungle", (("scarf", "red"),)),
        ("in the snow wearing a red scarf and sunglasses", "snow", (("scarf", "red"), ("sunglasses", "black"))),
    )
    seen = (("in the snow", "snow"), ("in a meadow", "meadow"), ("on the beach", "beach"))
    return (
        *prompts(),
        *(Prompt(f"{{}} {place}", scene) for place, scene in scenes),
        *(Prompt(f"{{}} {words}", scene, accessories) for words, scene, accessories in dressed),
        *(Prompt(f"{{}} {place}, from the side", scene, view="side") for place, scene in seen),
    )
