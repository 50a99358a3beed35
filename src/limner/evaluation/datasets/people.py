"""People of the pocket world that no training saw, with the ground truth of every prompt."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from limner.errors import InputError
from limner.evaluation.datasets import Case, DataSet, Member, loader
from limner.evaluation.datasets.toys import pictured
from limner.evaluation.people import LASTING
from limner.evaluation.people_truth import asked_of, fields
from limner.pocket import SIZE

if TYPE_CHECKING:
    from PIL import Image

    from limner.pocket.world.graph import Person, SceneGraph
    from limner.pocket.world.prompts_people import PeoplePrompt

PEOPLE_SCENES = (("studio", "neutral"), ("meadow", "smiling"), ("kitchen", "neutral"), ("beach", "surprised"))
HELD_OUT = (("city", "neutral"), ("snow", "smiling"), ("studio", "sad"), ("desert", "neutral"))
"""(scene, expression) of the reference images (`PEOPLE_SCENES`) and of the held-out ones (`HELD_OUT`)."""


@loader("people")
def people(*, split: str = "held-out", count: int = 15, prompts: int = 40, size: int = SIZE) -> DataSet:
    """People with four reference images, four held-out images, and prompts of every kind in turn.

    split: "held-out" for judging or "dev" for choosing settings
    count: number of people, at most fifteen
    prompts: number of prompts, at most forty
    size: side of the pictures, in pixels

    Prompts of which this edition's judge reads nothing are left out and listed in `absent`. Raises `InputError` for
    another split and for numbers out of range.
    """
    from limner.pocket.labels import labels
    from limner.pocket.world.faces import person
    from limner.pocket.world.graph import SPLITS
    from limner.pocket.world.people_words import NOUNS_OF_AGE
    from limner.pocket.world.prompts_people import PEOPLE

    if split not in ("dev", "held-out"):
        raise InputError(f"people to judge by come from the splits dev and held-out, not {split!r}")
    every, absent = _readable()
    if not 1 <= count <= len(PEOPLE) or prompts < 1:
        raise InputError(f"there are {len(PEOPLE)} people and {len(every)} prompts; asked for {count} and {prompts}")
    chosen, known, cases = every[:prompts], fields(), []
    for number in PEOPLE[:count]:
        seed = number - SPLITS["held-out"].start + SPLITS[split].start
        who = person(seed)
        shown = _pictured(seed, size)
        true = labels(portraits(who)[0])
        member = Member(
            f"person-{seed % 1_000_000}",
            NOUNS_OF_AGE[who.age][0],
            "face",
            images=tuple(shown[:4]),
            held_out=tuple(shown[4:]),
            looks=looks_of(who),
            known={name: true[name] for name in LASTING if name in true and name in known},
        )
        texts = tuple(prompt.text for prompt in chosen)
        # The ground truth of a case and its rendering belong together: here, both are for people.
        cases.append(Case(member.name, (member,), texts, chosen, functools.partial(answers, who, size=size)))  # type: ignore[arg-type]
    return DataSet("people", tuple(cases), "Apache-2.0", absent=absent)


@functools.lru_cache(maxsize=32)
def _pictured(seed: int, size: int) -> tuple[Image.Image, ...]:
    """The portraits of a person, rendered once."""
    from limner.pocket.world.faces import person

    return tuple(pictured(portraits(person(seed)), size))


def _readable() -> tuple[tuple[PeoplePrompt, ...], tuple[str, ...]]:
    """The prompts with an attribute that the judge reads, of every kind in turn; and a note for each other prompt."""
    from limner.pocket.world.prompts_people import KINDS, PROMPTS

    by_kind = [[p for p in PROMPTS if p.kind == kind and asked_of(p)] for kind in KINDS]
    turns = tuple(p for group in zip_longest(*by_kind) for p in group if p is not None)
    return turns, tuple(f"{p.text!r}: this edition's judge does not read it" for p in PROMPTS if not asked_of(p))


def portraits(who: Person) -> list[SceneGraph]:
    """Scene graphs of eight portraits, each in other clothes: four reference images and four held-out ones."""
    from limner.pocket.world.garments import garment
    from limner.pocket.world.portraits import person_showing

    return [
        person_showing(who, seed=7 * k + 1, scene=scene, expression=expression, garment=garment(who.seed + 100 + k))
        for k, (scene, expression) in enumerate((*PEOPLE_SCENES, *HELD_OUT))
    ]


def looks_of(who: Person) -> str:
    """The person in words: "a child with short blond hair"."""
    from limner.pocket.world.people_words import HAIR_SAID, NOUNS_OF_AGE

    noun = NOUNS_OF_AGE[who.age][0]
    if who.hairstyle == "bald":
        return f"bald {noun}"
    return f"{noun} with {HAIR_SAID[who.hairstyle].format(who.hair_colour)}"


def answers(
    who: Person, prompts: Sequence[PeoplePrompt], seeds: Iterable[int], *, size: int = SIZE
) -> list[Image.Image]:
    """Ground-truth renders of the person for each prompt, one for each seed, prompt by prompt."""
    from limner.pocket.world.garments import garment
    from limner.pocket.world.prompts_people import answer

    places = [(k, p, s) for k, p in enumerate(prompts) for s in seeds]
    return pictured(
        [answer(p, who, seed=1000 * k + s, garment=garment(who.seed + 200 + k + s)) for k, p, s in places], size
    )


def gallery(noun: str, count: int = 16, *, size: int = SIZE) -> list[Image.Image]:
    """Portraits of other held-out people of the same age, one each.

    noun: class noun of the age, such as "child"
    count: largest number of people
    size: side of the pictures, in pixels
    """
    from limner.pocket.world.faces import person
    from limner.pocket.world.graph import SPLITS
    from limner.pocket.world.people_words import NOUNS_OF_AGE
    from limner.pocket.world.prompts_people import PEOPLE

    start = SPLITS["held-out"].start + 5_000
    others = (person(start + k) for k in range(20 * count))
    alike = [who for who in others if NOUNS_OF_AGE[who.age][0] == noun and who.seed not in PEOPLE][:count]
    return pictured([portraits(who)[0] for who in alike], size)
