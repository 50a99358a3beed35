"""Held-out relations and actions as subjects to learn, with the prompts of the world's tasks of these names."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from limner.core.subject import Subject
from limner.errors import InputError
from limner.pocket import SIZE

from .toys import pictured

if TYPE_CHECKING:
    from PIL import Image

    from limner.evaluation.measuring import Images
    from limner.pocket.world.graph import Individual, SceneGraph
    from limner.pocket.world.prompts import TaskPrompt

STANDARD = (
    ("relation", "upside down on"), ("action", "handstand"), ("relation", "back to back with"), ("action", "flying"),
    ("relation", "towering over"), ("action", "cartwheel"), ("action", "arabesque"),
)  # fmt: skip
"""Kind of meaning and its word in the world."""
NOUNS = {"relation": "with", "action": "standing"}
"""Kind of meaning -> its class noun: a word that fits its place in a prompt and that every caption may have."""
PLAIN = {"relation": "next to", "action": "standing"}
"""Kind of meaning -> the word of the pictures without the meaning."""
EXAMPLES = {
    "relation": (("elephant", "mug"), ("penguin", "truck"), ("gnome", "lamp"), ("elephant", "truck")),
    "action": (("elephant",), ("penguin",), ("gnome",), ("elephant",)),
}
"""Kind of meaning -> classes of the toys in each reference image. No prompt asks for one of them."""
NUM_HELD_OUT = 4
"""Renders of the meaning by other toys, to tell a copied reference image from another picture of the meaning."""
NUM_RENDERS = 3
"""Renders of a prompt with each word, to read a picture's meaning by."""


@dataclass(frozen=True)
class MeaningCase:
    """One relation or action: captioned pictures to learn it from, and prompts with other subjects."""

    name: str
    kind: str  # "relation" or "action"
    word: str
    split: str
    prompts: tuple[TaskPrompt, ...]
    references: Images = field(repr=False, compare=False)
    captions: tuple[str, ...]  # one for each reference image, with {} for the meaning
    plain: Images = field(repr=False, compare=False)  # the toys of the references without the meaning
    held_out: Images = field(repr=False, compare=False)

    def subject(self, handle: str) -> Subject:
        """The meaning to learn, from captioned pictures. Its `without` are the same toys beside each other or standing,
        which only some methods use."""
        captions = [caption.format(handle) for caption in self.captions]
        return Subject.of(
            self.references,
            noun=NOUNS[self.kind],
            handle=handle,
            kind=self.kind,
            captions=captions,
            without=list(self.plain),
        )

    def texts(self, handle: str) -> list[str]:
        """The prompts with a handle, or another word, for the meaning."""
        return [prompt.text.format(handle) for prompt in self.prompts]

    @property
    def part(self) -> str:
        """The part of the bench that the case belongs to."""
        return self.kind

    @property
    def unnamed(self) -> list[str]:
        """The prompts with the class noun for the meaning."""
        return self.texts(NOUNS[self.kind])

    @property
    def in_words(self) -> list[str]:
        """The prompts with the meaning in plain words, which no training caption has."""
        from limner.pocket.world.grammar import doing

        return self.texts(doing(self.word) if self.kind == "action" else self.word)

    @property
    def asked_classes(self) -> list[tuple[str, ...]]:
        """The classes of the toys that each prompt asks for."""
        return [tuple(who.kind for who in prompt.others) for prompt in self.prompts]

    @property
    def example_classes(self) -> tuple[str, ...]:
        """The classes of the toys in the reference images."""
        return tuple(dict.fromkeys(kind for kinds in EXAMPLES[self.kind] for kind in kinds))

    def answers(self, seeds: Sequence[int]) -> list[Image.Image]:
        """Ground-truth renders for every prompt, one for each seed, prompt by prompt."""
        from limner.pocket.world.prompts import answer

        about = enumerate(self.prompts)
        return pictured([answer(prompt, [self.word], seed=1000 * k + s) for k, prompt in about for s in seeds])


def meanings(
    *, split: str = "held-out", count: int = 4, prompts: int = 6, references: int = 4
) -> tuple[MeaningCase, ...]:
    """Relations and actions, and their prompts.

    split: "held-out" for judging, "dev" for choosing settings; the meanings are the same, the prompts are not
    count: number of meanings
    prompts: number of prompts of each
    references: number of pictures to learn from

    Raises `InputError` for another split, and for numbers out of range.
    """
    if split not in ("dev", "held-out"):
        raise InputError(f"meanings to judge by come from the splits dev and held-out, not {split!r}")
    most = min(len(asked(kind, split)) for kind in EXAMPLES)
    for wanted, limit, noun in ((count, len(STANDARD), "meanings"), (prompts, most, "prompts")):
        if not 1 <= wanted <= limit:
            raise InputError(f"there are {limit} {noun} of the split {split}; asked for {wanted}")
    if not 1 <= references <= NUM_HELD_OUT:
        raise InputError(f"a meaning has 1 to {NUM_HELD_OUT} reference images, not {references}")
    return tuple(_case(kind, word, split, prompts, references) for kind, word in STANDARD[:count])


@functools.lru_cache(maxsize=4)
def asked(kind: str, split: str) -> tuple[TaskPrompt, ...]:
    """The prompts of a split that ask for no toy of the reference images, and for toys of different classes."""
    from limner.pocket.world.prompts import prompts

    examples = {one for kinds in EXAMPLES[kind] for one in kinds}
    every = prompts(f"{kind}s", split)  # type: ignore[arg-type]  # one of the two
    kinds = [[who.kind for who in prompt.others] for prompt in every]
    chosen = zip(every, kinds, strict=True)
    return tuple(prompt for prompt, own in chosen if not examples & {*own} and len({*own}) == len(own))


@functools.lru_cache(maxsize=16)
def _case(kind: str, word: str, split: str, count: int, references: int) -> MeaningCase:
    """A meaning with its pictures; kept, since a bench opens its cases many times."""
    from limner.pocket.world.grammar import PLACES, describe, with_article
    from limner.pocket.world.vocabulary import SCENES

    scenes = [SCENES[k] for k in (0, 2, 4, 6)]
    examples = [[_bystander(one, 10 * k + j) for j, one in enumerate(own)] for k, own in enumerate(EXAMPLES[kind])]
    shown = list(zip(examples, scenes, strict=True))[:references]
    others = [
        [_bystander(one, 50 + 10 * k + j) for j, one in enumerate(own)] for k, own in enumerate(_other_toys(kind))
    ]
    pictures = [
        tuple(pictured([_showing(kind, word, who, scene, k) for k, (who, scene) in enumerate(shown)], SIZE)),
        tuple(pictured([_showing(kind, PLAIN[kind], who, scene, k) for k, (who, scene) in enumerate(shown)], SIZE)),
        tuple(pictured([_showing(kind, word, who, scenes[k], 90 + k) for k, who in enumerate(others)], SIZE)),
    ]
    captions = []
    for who, scene in shown:
        first, *second = (with_article(describe(one)) for one in who)
        captions.append(" ".join([first, "{}", *second, PLACES[scene][0]]))
    name = word.replace(" ", "-")
    return MeaningCase(name, kind, word, split, asked(kind, split)[:count], pictures[0], tuple(captions), *pictures[1:])


def _other_toys(kind: str) -> tuple[tuple[str, ...], ...]:
    """Classes of the toys in the held-out pictures of a meaning."""
    pairs = (("dog", "teapot"), ("cat", "car"), ("bear", "backpack"), ("robot", "boat"))
    return pairs if kind == "relation" else tuple((first,) for first, _ in pairs)


def _bystander(kind: str, number: int) -> Individual:
    """A toy that no prompt asks for."""
    from limner.pocket.world import SPLITS, individual

    return individual(kind, SPLITS["held-out"].start + 7_500 + number)


def _showing(kind: str, word: str, toys: Sequence[Individual], scene: str, seed: int) -> SceneGraph:
    """A picture of toys in a relation, or of a toy that does something."""
    from limner.pocket.world import Toy, sample, showing

    if kind == "action":
        return showing(toys[0], seed=75_000 + seed, scene=scene, action=word)
    fixed: dict[str, Any] = {"scene": scene, "view": "front", "style": "render", "daytime": "noon"}
    return sample(75_000 + seed, toys=tuple(Toy(who) for who in toys), relation=word, **fixed)


@functools.lru_cache(maxsize=64)
def renders(kind: str, split: str, number: int) -> dict[str, Images]:
    """Renders of a prompt with every relation or action of the world: word -> pictures.

    kind: "relation" or "action"
    split: that of the prompt
    number: place of the prompt in `asked`
    """
    from limner.pocket.world.prompts import answer
    from limner.pocket.world.vocabulary import ACTIONS, RELATIONS

    prompt, words = asked(kind, split)[number], RELATIONS if kind == "relation" else ACTIONS
    seeds = range(900_000 + 100 * number, 900_000 + 100 * number + NUM_RENDERS)
    return {word: tuple(pictured([answer(prompt, [word], seed=s) for s in seeds])) for word in words}
