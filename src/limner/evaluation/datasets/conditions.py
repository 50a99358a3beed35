"""Held-out toys with a source picture for every prompt: another toy of the class, in the same pose, place and light."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from limner.errors import InputError
from limner.pocket import SIZE

from .toys import STANDARD, pictured, toys

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from limner.core.regions import Box
    from limner.core.subject import Subject
    from limner.evaluation.datasets import Member
    from limner.evaluation.measuring import Images
    from limner.pocket.world.graph import Individual, SceneGraph

SWAP, DEPTH, EDGES, BOX, VIEW, GARMENT = CONDITIONS = ("swap", "depth", "edges", "box", "view", "garment")
"""Parts of the suite: the subject put into a source picture in place of the toy there; painted by depth or by edges of
the source; painted into a box; seen from a viewpoint; a garment put on a person. The cases of the last are garments
(`datasets.garments`), those of all others toys."""
VIEWS = ((90.0, "right"), (180.0, "back"), (-90.0, "left"))
"""Degrees around the subject, away from its front, and the word of the world for that view; prompts take turns."""
QUARTERS = {"right": "side", "left": "side", "back": "back"}
"""View -> the same in quarters, as the judge reads it."""
ROOM = 4
"""Pixels around the toy of the source that may change in a swap."""


@dataclass(frozen=True)
class ConditionCase:
    """One toy to learn, and a source picture with its truth for every prompt."""

    name: str
    member: Member
    scenes: tuple[str, ...]  # one for each prompt
    sources: Images = field(repr=False, compare=False)
    masks: Tensor = field(repr=False, compare=False)  # [P, H, W] of 0 and 1: the toy of each source
    depths: Tensor = field(repr=False, compare=False)  # [P, 1, H, W] in [0, 1]: inverse depth, 1 at the nearest point
    edges: Tensor = field(repr=False, compare=False)  # [P, 1, H, W] of 0 and 1
    boxes: tuple[Box, ...]  # the toy to learn in its answer, as shares of the picture
    answered: Images = field(repr=False, compare=False)  # the sources with the toy to learn
    views: Images = field(repr=False, compare=False)  # the toy to learn as each viewpoint sees it

    @property
    def noun(self) -> str:
        """The toy's class noun."""
        return self.member.noun

    @property
    def looks(self) -> str:
        """The toy in words."""
        return self.member.looks

    def subject(self, handle: str) -> Subject:
        """The toy to learn."""
        return self.member.subject(handle)

    def texts(self, subject: str, condition: str = "") -> list[str]:
        """The prompts with a handle or words for the subject; with the view in words for the condition VIEW."""
        from limner.pocket.world.grammar import PLACES, VIEWED

        texts = [f"{subject} {PLACES[scene][0]}" for scene in self.scenes]
        if condition != VIEW:
            return texts
        return [f"{text}, {VIEWED[QUARTERS[view_of(k)[1]]][0]}" for k, text in enumerate(texts)]

    @property
    def changeable(self) -> Tensor:
        """[P, H, W] of 0 and 1: where a swap may change each source, its toy with some room around it."""
        import torch.nn.functional as F

        return F.max_pool2d(self.masks[:, None], 2 * ROOM + 1, 1, ROOM)[:, 0]

    def answers(self, condition: str, seeds: Sequence[int]) -> list[Image.Image]:
        """Ground-truth renders for every prompt, repeated for each seed, prompt by prompt."""
        right = self.views if condition == VIEW else self.answered
        return [image for image in right for _ in seeds]


def view_of(number: int) -> tuple[float, str]:
    """Degrees and word of the viewpoint of a prompt, by its number."""
    return VIEWS[number % len(VIEWS)]


def conditions(*, split: str = "held-out", count: int = 3, prompts: int = 4) -> tuple[ConditionCase, ...]:
    """Toys and their source pictures.

    split: "held-out" for judging, "dev" for choosing settings
    count: number of toys
    prompts: number of prompts and sources of each

    Raises `InputError` for another split, and for numbers out of range.
    """
    if split not in ("dev", "held-out"):
        raise InputError(f"toys to judge by come from the splits dev and held-out, not {split!r}")
    for wanted, most, noun in ((count, len(STANDARD), "toys"), (prompts, len(_scenes()), "prompts")):
        if not 1 <= wanted <= most:
            raise InputError(f"there are {most} {noun}; asked for {wanted}")
    return tuple(_case(split, number, prompts) for number in range(count))


def _scenes() -> tuple[str, ...]:
    """The scenes of the prompts: those that the shipped base knows best."""
    from limner.pocket.world import CORE

    return CORE.scenes


@functools.lru_cache(maxsize=8)
def _case(split: str, number: int, prompts: int) -> ConditionCase:
    """A toy with its pictures; kept, since a bench opens its cases many times."""
    from limner.parts.encoders.conditions import edges
    from limner.pocket.world import CORE, SPLITS, draw, individual, showing

    kind, place = STANDARD[number]
    member = toys(split=split, count=number + 1).cases[number].member
    who = individual(kind, SPLITS[split].start + place, patterns=CORE.patterns)
    scenes = tuple(_scenes()[(number + k) % len(_scenes())] for k in range(prompts))
    others = [individual(kind, SPLITS["held-out"].start + 8_000 + k, patterns=CORE.patterns) for k in range(prompts)]
    graphs = [
        showing(other, seed=80_000 + 100 * number + k, scene=scene)
        for k, (other, scene) in enumerate(zip(others, scenes, strict=True))
    ]
    source, answer = draw(graphs), draw([_in_place(graph, who) for graph in graphs])
    seen = [
        showing(who, seed=85_000 + 100 * number + k, scene=scene, view=view_of(k)[1]) for k, scene in enumerate(scenes)
    ]
    near = source.depth.flatten(1).amin(1)[:, None, None]
    return ConditionCase(
        member.name,
        member,
        scenes,
        sources=images_of(source.pixels),
        masks=source.masks.float(),
        depths=(near / source.depth).clamp(0, 1)[:, None],
        edges=edges(source.pixels.float() / 255),
        boxes=tuple(_box(box) for box in answer.boxes[:, 0]),
        answered=images_of(answer.pixels),
        views=tuple(pictured(seen)),
    )


def _in_place(graph: SceneGraph, who: Individual) -> SceneGraph:
    """The same picture with this toy in place of its own."""
    return replace(graph, toys=(replace(graph.toys[0], individual=who), *graph.toys[1:]))


def images_of(pixels: Tensor) -> Images:
    """The pictures of pixels [B, 3, H, W] uint8."""
    from PIL import Image

    return tuple(Image.fromarray(p.permute(1, 2, 0).contiguous().numpy()) for p in pixels)


def _box(box: Tensor) -> Box:
    """A box in pixels as shares of the picture."""
    left, top, right, bottom = (float(end) / SIZE for end in box)
    return left, top, right, bottom
