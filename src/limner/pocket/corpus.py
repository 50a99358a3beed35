"""The pocket world as a corpus: toys of its training split, never those used for scoring."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

INDIVIDUALS, NUM_VIEWS = 1000, 4


@dataclass(frozen=True)
class toys:
    """Toys of the pocket world, NUM_VIEWS pictures of each, in other scenes and views.

    Endless and seeded: toy k is always the same.
    """

    individuals: int = 0  # 0: INDIVIDUALS

    @property
    def name(self) -> str:
        return "toys"

    @property
    def fingerprint(self) -> str:
        return f"toys, {len(self.subjects)} of {NUM_VIEWS}, second edition"

    @property
    def record(self) -> Mapping[str, Any]:
        count = len(self.subjects)
        about = {
            "pictures": count * NUM_VIEWS,
            "subjects": count,
            "captions": count * NUM_VIEWS,
            "masks": count * NUM_VIEWS,
        }
        return {"name": self.name, "fingerprint": self.fingerprint, **about, "left_out": {}, "noticed": {}}

    def __str__(self) -> str:
        return f"toys: {len(self.subjects) * NUM_VIEWS} pictures of {len(self.subjects)} toys, none of which is in a benchmark"

    @property
    def subjects(self) -> Sequence[Sequence[int]]:
        count = self.individuals or INDIVIDUALS
        return [range(k * NUM_VIEWS, (k + 1) * NUM_VIEWS) for k in range(count)]

    def noun(self, picture: int) -> str:
        from limner.pocket.world import CORE

        return CORE.classes[picture // NUM_VIEWS % len(CORE.classes)]

    def caption(self, picture: int, name: str, *, seed: int) -> str:
        from limner.pocket.world import caption

        return caption(_graph(picture), seed=seed, name=name)

    def looks(self, picture: int) -> str:
        from limner.pocket.world import describe

        seen = describe(_graph(picture).toys[0].individual)
        return f"{'an' if seen[0] in 'aeiou' else 'a'} {seen}"

    def text(self, number: int) -> str:
        from limner.pocket.world import caption, unseen

        return caption(unseen(number), seed=number)

    def views(self, pictures: Sequence[int]) -> Tensor:
        """[n, 3]: azimuth and elevation of the camera around the toy in radians, and its distance (`core.views`)."""
        import torch

        from limner.pocket.world import viewpoint

        return torch.tensor([viewpoint(_graph(k)) for k in pictures])

    def drawn(self, pictures: Sequence[int], size: int) -> tuple[Tensor, Tensor | None]:
        from limner.pocket.world import draw

        drawing = draw([_graph(k) for k in pictures], size=size)
        return drawing.pixels, (drawing.masks[:, None] * 255).byte()

    def depths(self, pictures: Sequence[int], size: int) -> Tensor:
        """Inverse depth, uint8 [n, 1, size, size], 255 at each picture's nearest point and 0 at the sky."""
        from limner.pocket.world import draw

        inverse = 1 / draw([_graph(k) for k in pictures], size=size).depth[:, None]
        return (inverse / inverse.amax((2, 3), keepdim=True) * 255).round().byte()


@functools.lru_cache(maxsize=8192)
def _graph(picture: int) -> Any:
    """The graph of a picture: its toy, in a scene drawn from the picture's number."""
    from limner.pocket.world import CORE, individual, sample
    from limner.pocket.world.graph import Toy

    k = picture // NUM_VIEWS
    who = individual(CORE.classes[k % len(CORE.classes)], k, patterns=CORE.patterns)
    return sample(picture, toys=(Toy(who),))
