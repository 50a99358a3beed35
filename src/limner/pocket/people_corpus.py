"""People of the pocket world's training split as a corpus; people of benchmarks are not among them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .seeded_corpus import NUM_VIEWS, SeededCorpus

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class people(SeededCorpus):
    """People of the pocket world, with NUM_VIEWS pictures of each in different clothes, places, light and poses. The
    corpus is seeded: person k is always the same. Masks show the head: face, hair and ears.

    individuals: number of people; 0 takes `usual`
    """

    plural = "people"
    beside = ", none of whom is in a benchmark"

    def noun(self, picture: int) -> str:
        from limner.pocket.world.people_words import NOUNS_OF_AGE

        return NOUNS_OF_AGE[_graph(picture).people[0].person.age][0]

    def caption(self, picture: int, name: str, *, seed: int) -> str:
        from limner.pocket.world import caption

        return caption(_graph(picture), seed=seed, name=name)

    def looks(self, picture: int) -> str:
        from limner.pocket.world.people_words import HAIR_SAID, NOUNS_OF_AGE

        who = _graph(picture).people[0].person
        noun = NOUNS_OF_AGE[who.age][0]
        seen = (
            f"bald {noun}"
            if who.hairstyle == "bald"
            else f"{noun} with {HAIR_SAID[who.hairstyle].format(who.hair_colour)}"
        )
        return f"{'an' if seen[0] in 'aeiou' else 'a'} {seen}"

    @property
    def landmark_names(self) -> tuple[str, ...]:
        from limner.pocket.world.faces import LANDMARKS

        return LANDMARKS

    @property
    def mirror(self) -> Sequence[int]:
        names = self.landmark_names
        sides = {"left": "right", "right": "left"}
        swapped = [" ".join(sides.get(word, word) for word in name.split()) for name in names]
        return [names.index(name) for name in swapped]

    def landmarks(self, pictures: Sequence[int]) -> Tensor:
        """[n, K, 2]: where they fall on the pictures, behind hair or glasses too; NaN outside of the picture."""
        import torch

        from limner.core.landmarks import cropped

        return cropped(torch.stack([_landmarks(k) for k in pictures]), (0.0, 0.0, 1.0, 1.0))

    def drawn(self, pictures: Sequence[int], size: int) -> tuple[Tensor, Tensor | None]:
        import torch

        from limner.pocket.world import draw
        from limner.pocket.world.faces import PARTS

        drawing = draw([_graph(k) for k in pictures], size=size)
        head = torch.tensor([PARTS.index(part) for part in HEAD])
        return drawing.pixels, (torch.isin(drawing.part.long(), head)[:, None] * 255).byte()


HEAD = ("head", "hair", "eye", "brow", "nose", "mouth", "ear", "glasses", "sunglasses")
"""Parts of a figure that belong to the head."""


@functools.lru_cache(maxsize=8192)
def _landmarks(picture: int) -> Tensor:
    """[K, 2]: x and y of a person's landmarks as shares of the picture's width and height."""
    import torch

    from limner.pocket.world.drawing import landmarks_of

    return torch.from_numpy(landmarks_of(_graph(picture), 1)[0]).float()


@functools.lru_cache(maxsize=8192)
def _graph(picture: int) -> Any:
    """The scene graph of a picture: its person alone, with everything else drawn from the picture's number."""
    from dataclasses import replace

    import numpy as np

    from limner.pocket.world import CORE
    from limner.pocket.world.faces import person
    from limner.pocket.world.graph import SPLITS
    from limner.pocket.world.portraits import sample_people

    rng = np.random.default_rng((picture, 53))
    face = sample_people(picture, rng, world=CORE, split="train").people[0]
    who = person(SPLITS["train"].start + picture // NUM_VIEWS)
    hidden = who.hairstyle in ("bun", "mohawk")
    accessories = [
        (a, c) for a, c in zip(face.accessories, face.accessory_colours, strict=True) if not (hidden and a == "hat")
    ]
    names, colours = tuple(a for a, _ in accessories), tuple(c for _, c in accessories)
    alone = replace(face, person=who, accessories=names, accessory_colours=colours, place=(0.0, 0.0, 0.0))
    distance = "close" if picture % 2 == 0 else "medium"
    alone = alone if distance == "medium" else replace(alone, action="standing")
    return sample_people(picture, rng, world=CORE, split="train", people=(alone,), distance=distance)
