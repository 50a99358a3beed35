"""Styles of the pocket world's training split as a corpus: individuals of the families that training pictures show."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .seeded_corpus import NUM_VIEWS, SeededCorpus

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class styles(SeededCorpus):
    """Individual styles, NUM_VIEWS pictures in each: other toys in other scenes. The corpus is seeded: style k is
    always the same. Captions name what a picture shows, and nothing of its style. Masks show the toy.

    individuals: number of styles; 0 takes `usual`
    """

    plural = "styles"
    usual = 510
    beside = ", none of which is in a benchmark"

    def noun(self, picture: int) -> str:
        """Class noun of the toy that the picture shows."""
        return str(_graph(picture).toys[0].individual.kind)

    def caption(self, picture: int, name: str, *, seed: int) -> str:
        from limner.pocket.world import caption

        return caption(replace(_graph(picture), style="render"), seed=seed, name=name)

    def looks(self, picture: int) -> str:
        from limner.pocket.world import describe

        seen = describe(_graph(picture).toys[0].individual)
        return f"{'an' if seen[0] in 'aeiou' else 'a'} {seen}"

    def drawn(self, pictures: Sequence[int], size: int) -> tuple[Tensor, Tensor | None]:
        from limner.pocket.world import draw

        drawing = draw([_graph(k) for k in pictures], size=size)
        return drawing.pixels, (drawing.masks[:, None] * 255).byte()


def families() -> tuple[str, ...]:
    """The families that training pictures show, in the order of the vocabulary."""
    from limner.pocket.world.vocabulary import shown

    return tuple(family for family in shown("styles") if family != "render")


@functools.lru_cache(maxsize=8192)
def _graph(picture: int) -> Any:
    """The graph of a picture: a toy of its own, in a scene drawn from the picture's number, in the style of its
    subject."""
    from limner.pocket.world import CORE, individual, sample
    from limner.pocket.world.graph import Toy

    k, every = picture // NUM_VIEWS, families()
    who = individual(CORE.classes[picture % len(CORE.classes)], picture, patterns=CORE.patterns)
    return sample(picture, toys=(Toy(who),), style=every[k % len(every)], style_seed=k)
