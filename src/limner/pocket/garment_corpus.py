"""Garments of the pocket world's training split as a corpus, each on several people."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .seeded_corpus import NUM_VIEWS, SeededCorpus

if TYPE_CHECKING:
    from torch import Tensor

    from limner.pocket.world.graph import Garment, SceneGraph


@dataclass(frozen=True)
class garments(SeededCorpus):
    """Garments of the pocket world, with NUM_VIEWS pictures of each on different people, in different places, light and
    poses. The corpus is seeded: garment k is always the same. Masks show the garment.

    individuals: number of garments; 0 takes `usual`
    """

    plural = "garments"

    def noun(self, picture: int) -> str:
        return str(_graph(picture).people[0].garment.kind)

    def caption(self, picture: int, name: str, *, seed: int) -> str:
        return f"a person in {name}"

    def looks(self, picture: int) -> str:
        cloth = _graph(picture).people[0].garment
        colours = cloth.colours[0] if cloth.pattern == "plain" else f"{cloth.colours[0]} and {cloth.colours[1]}"
        return f"{'an' if colours[0] in 'aeiou' else 'a'} {colours} {cloth.kind}"

    def drawn(self, pictures: Sequence[int], size: int) -> tuple[Tensor, Tensor | None]:
        from limner.pocket.world import draw
        from limner.pocket.world.faces import PARTS

        drawing = draw([_graph(k) for k in pictures], size=size)
        return drawing.pixels, ((drawing.part.long() == PARTS.index("garment"))[:, None] * 255).byte()


def in_garment(cloth: Garment, picture: int, *, split: str = "train") -> SceneGraph:
    """The scene graph of one person in a garment: half-length, everything but the garment drawn from a number.

    cloth: the garment
    picture: the number
    split: split of the people
    """
    import numpy as np

    from limner.pocket.world import CORE
    from limner.pocket.world.portraits import sample_people

    rng = np.random.default_rng((picture, 71))
    face = sample_people(picture, rng, world=CORE, split=split, distance="medium").people[0]
    alone = replace(face, garment=cloth, accessories=(), accessory_colours=(), place=(0.0, 0.0, 0.0))
    return sample_people(picture, rng, world=CORE, split=split, people=(alone,), distance="medium")


@functools.lru_cache(maxsize=8192)
def _graph(picture: int) -> Any:
    """The scene graph of a picture of the corpus."""
    from limner.pocket.world import CORE
    from limner.pocket.world.garments import garment
    from limner.pocket.world.graph import SPLITS

    cloth = garment(SPLITS["train"].start + picture // NUM_VIEWS, patterns=CORE.patterns)
    return in_garment(cloth, picture)
