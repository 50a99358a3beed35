"""Held-out couples of people of the pocket world, with prompts for both in one picture and a half of it for each."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from limner.errors import InputError
from limner.evaluation.datasets import Member
from limner.pocket import SIZE

from .pairs import LEFT, RIGHT
from .people import people
from .toys import pictured

if TYPE_CHECKING:
    from collections.abc import Mapping

    from PIL import Image

    from limner.core.faces import FaceNetworks
    from limner.pocket.world.graph import Person

COUPLES = ((4, 10), (6, 10), (13, 14))
"""Numbers of people in the face set: grown-ups whom the face network recognises, and tells apart, in held-out
portraits."""
SCENES = ("beach", "kitchen", "snow", "meadow", "city", "jungle")


@dataclass(frozen=True)
class CouplePrompt:
    """A prompt for both people, the first on the viewer's left as in the world's captions."""

    text: str  # with {} for each of the two
    scene: str

    @property
    def truth(self) -> Mapping[str, str]:
        """Field of the judge -> option that the prompt asks for."""
        return {"scene": self.scene}


@dataclass(frozen=True)
class Couple:
    """Two people, their prompts, and a half of the picture for each."""

    name: str
    members: tuple[Member, Member]
    prompts: tuple[CouplePrompt, ...]
    people: tuple[Person, Person] = field(repr=False, compare=False)
    encoder: ClassVar[str] = "face"  # role of the encoder that tells them apart

    def regions(self, prompt: CouplePrompt, handles: Sequence[str]) -> dict[str, Any]:
        """Handle -> region of its person."""
        return dict(zip(handles, (LEFT, RIGHT), strict=True))

    @property
    def faces(self) -> FaceNetworks:
        """The networks that find the face in each half."""
        from limner.pocket.capabilities import CAPABILITIES

        assert CAPABILITIES.faces is not None
        return CAPABILITIES.faces

    def judged_regions(self) -> tuple[Any, ...]:
        """Masks [1, 1, SIZE, SIZE] of both halves, in which each of the two is judged."""
        from limner.core.regions import region_masks

        masks = region_masks({"rex": LEFT, "bo": RIGHT}, handles=("<rex>", "<bo>"), size=(SIZE, SIZE))
        return tuple(masks.values())

    def answers(self, seeds: Sequence[int]) -> list[Image.Image]:
        """Ground-truth renders for every prompt, one for each seed, prompt by prompt."""
        graphs = [_both(self.people, p.scene, 1000 * k + s) for k, p in enumerate(self.prompts) for s in seeds]
        return pictured(graphs, SIZE)

    def alone(self, number: int) -> list[str]:
        """Prompts for one of the two alone, with {} for the person: one for each scene of the couple's prompts."""
        from limner.pocket.world.grammar import PLACES

        return [f"{{}} {PLACES[prompt.scene][0]}" for prompt in self.prompts]


def couples(*, count: int = 3, prompts: int = 6) -> tuple[Couple, ...]:
    """Couples of held-out people and their prompts.

    count: number of couples, at most three
    prompts: number of prompts, each in a scene of its own, at most six

    Raises `InputError` for numbers out of range.
    """
    from limner.pocket.world.faces import person
    from limner.pocket.world.grammar import PLACES
    from limner.pocket.world.prompts_people import PEOPLE

    if not 1 <= count <= len(COUPLES) or not 1 <= prompts <= len(SCENES):
        raise InputError(f"there are {len(COUPLES)} couples and {len(SCENES)} prompts; asked for {count} and {prompts}")
    members, asked = _members(), []
    for scene in SCENES[:prompts]:
        asked.append(CouplePrompt(f"{{}} and {{}} {PLACES[scene][0]}", scene))
    made = []
    for numbers in COUPLES[:count]:
        first, second = (members[k] for k in numbers)
        who = person(PEOPLE[numbers[0]]), person(PEOPLE[numbers[1]])
        made.append(Couple(f"{first.name} and {second.name}", (first, second), tuple(asked), who))
    return tuple(made)


@functools.cache
def _members() -> tuple[Member, ...]:
    most = 1 + max(number for couple in COUPLES for number in couple)
    return tuple(case.member for case in people(count=most, prompts=1).cases)


def _both(who: tuple[Person, Person], scene: str, seed: int) -> Any:
    """A scene graph with the two people side by side, in clothes that their reference images do not show."""
    from limner.pocket.world.garments import garment
    from limner.pocket.world.graph import Face, SceneGraph
    from limner.pocket.world.portraits import stand_together, with_people_camera

    faces = [Face(one, garment=garment(one.seed + 300 + seed)) for one in who]
    graph = SceneGraph(seed, people=stand_together(faces, "medium"), scene=scene, distance="medium")
    return with_people_camera(replace(graph, daytime="noon"))
