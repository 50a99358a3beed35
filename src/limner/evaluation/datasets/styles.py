"""Held-out individual styles, with the prompts of the world's task "styles"."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

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
    ("embroidery", 40), ("watercolour", 41), ("neon", 42), ("pop art", 43),
    ("ink wash", 44), ("charcoal", 45), ("paper cut-out", 46), ("stained glass", 47),
)  # fmt: skip
"""Family, and number within the split. Held-out families and held-out individuals of known families take turns."""
HELD_OUT_FAMILY, KNOWN_FAMILY = "held-out family", "known family"
CONTENTS = (("rabbit", "beach"), ("mug", "jungle"), ("truck", "desert"), ("plant", "kitchen"))
"""Class and scene of each reference image. No prompt asks for one of these classes, or for one of these scenes."""
NUM_HELD_OUT, NUM_OTHERS = 6, 5
"""Held-out pictures of an individual style, and other individuals of its family to compare with."""


@dataclass(frozen=True)
class StyleCase:
    """One individual style: pictures to learn it from, pictures to judge by, and prompts."""

    name: str
    family: str
    number: int  # seed of the individual
    prompts: tuple[TaskPrompt, ...]
    references: Images = field(repr=False, compare=False)
    captions: tuple[str, ...]  # one for each reference image, with {} for the style
    plain: Images = field(repr=False, compare=False)  # the contents of the references without the style
    held_out: Images = field(repr=False, compare=False)  # other contents in the style
    unstyled: Images = field(repr=False, compare=False)  # the contents of `held_out` without the style
    relatives: Images = field(repr=False, compare=False)  # those contents in each other individual of the family

    @property
    def part(self) -> str:
        """Whether training pictures show the family."""
        from limner.pocket.world.vocabulary import HELD_OUT

        return HELD_OUT_FAMILY if self.family in HELD_OUT["styles"] else KNOWN_FAMILY

    def subject(self, handle: str) -> Subject:
        """The style to learn, from captioned pictures; the class noun is the family. Its `without` are the same
        contents without the style, which only some methods use."""
        captions = [caption.format(handle) for caption in self.captions]
        return Subject.of(
            self.references, noun=self.family, handle=handle, kind="style", captions=captions, without=list(self.plain)
        )

    def texts(self, handle: str) -> list[str]:
        """The prompts with a handle for the style."""
        return [prompt.text.format(handle) for prompt in self.prompts]

    @property
    def unnamed(self) -> list[str]:
        """The prompts without any style."""
        return [_without_style(prompt.text) for prompt in self.prompts]

    @property
    def in_words(self) -> list[str]:
        """The prompts with the family in words."""
        from limner.pocket.world.grammar import STYLED

        return [f"{STYLED[self.family]} {text}" for text in self.unnamed]

    def answers(self, seeds: Sequence[int]) -> list[Image.Image]:
        """Ground-truth renders for every prompt, one for each seed, prompt by prompt."""
        from limner.pocket.world.prompts import answer

        about = enumerate(self.prompts)
        style = (self.family, self.number)
        return pictured([answer(prompt, [style], seed=1000 * k + s) for k, prompt in about for s in seeds])


def styles(*, split: str = "held-out", count: int = 4, prompts: int = 6, references: int = 4) -> tuple[StyleCase, ...]:
    """Individual styles and their prompts.

    split: "held-out" for judging, "dev" for choosing settings
    count: number of styles
    prompts: number of prompts of each
    references: number of pictures to learn from, each of another content

    Raises `InputError` for another split, and for numbers out of range.
    """
    from limner.pocket.world import SPLITS

    if split not in ("dev", "held-out"):
        raise InputError(f"styles to judge by come from the splits dev and held-out, not {split!r}")
    every = asked(split)
    for wanted, most, noun in ((count, len(STANDARD), "styles"), (prompts, len(every), "prompts")):
        if not 1 <= wanted <= most:
            raise InputError(f"there are {most} {noun} of the split {split}; asked for {wanted}")
    if not 1 <= references <= len(CONTENTS):
        raise InputError(f"a style has 1 to {len(CONTENTS)} reference images, not {references}")
    start = SPLITS[split].start
    return tuple(_case(family, start + number, split, prompts, references) for family, number in STANDARD[:count])


def asked(split: str) -> tuple[TaskPrompt, ...]:
    """The prompts of a split that ask for no content of the reference images."""
    from limner.pocket.world.prompts import prompts

    kinds, scenes = ([content[k] for content in CONTENTS] for k in range(2))
    every = prompts("styles", split)  # type: ignore[arg-type]  # one of the two
    return tuple(p for p in every if p.truth["class"] not in kinds and p.truth["scene"] not in scenes)


@functools.lru_cache(maxsize=16)
def _case(family: str, number: int, split: str, count: int, references: int) -> StyleCase:
    """A style with its pictures; kept, since a bench opens its cases many times."""
    from limner.pocket.world.grammar import PLACES, describe, with_article

    prompts = asked(split)[:count]
    contents = [(_bystander(kind, k), scene) for k, (kind, scene) in enumerate(CONTENTS[:references])]
    shown = [_showing(who, scene, k) for k, (who, scene) in enumerate(contents)]
    others = _other_contents(prompts)
    own, plain = {"style": family, "style_seed": number}, {"style": "render"}
    relatives = [number + 100 + k for k in range(NUM_OTHERS)]
    groups: list[list[SceneGraph]] = [
        [graph(**own) for graph in shown],
        [graph(**plain) for graph in shown],
        [graph(**own) for graph in others],
        [graph(**plain) for graph in others],
        [graph(style=family, style_seed=relative) for relative in relatives for graph in others],
    ]
    pictures = [tuple(pictured(group, SIZE)) for group in groups]
    captions = tuple(
        f"{with_article(describe(who))} {PLACES[scene][0]} in the style of {{}}" for who, scene in contents
    )
    name = f"{family.replace(' ', '-')}-{number % 1000}"
    return StyleCase(name, family, number, prompts, pictures[0], captions, *pictures[1:])


def _bystander(kind: str, number: int) -> Individual:
    """A toy of a class that is no task's subject."""
    from limner.pocket.world import SPLITS, individual

    return individual(kind, SPLITS["held-out"].start + 7_000 + number)


def _showing(who: Individual, scene: str, seed: int) -> functools.partial[SceneGraph]:
    """A picture of a toy in a scene, whose style is to be given."""
    from limner.pocket.world import showing

    return functools.partial(showing, who, seed=70_000 + seed, scene=scene)


def _other_contents(prompts: Sequence[TaskPrompt]) -> list[functools.partial[SceneGraph]]:
    """Contents of the pictures to judge a style by: those of neither the references nor the prompts."""
    from limner.pocket.world.vocabulary import CLASSES, SCENES

    taken = {kind for kind, _ in CONTENTS} | {prompt.truth["class"] for prompt in prompts}
    free = [kind for kind in CLASSES if kind not in taken] or list(CLASSES)
    scenes = [scene for scene in SCENES if scene not in {scene for _, scene in CONTENTS}]
    return [
        _showing(_bystander(free[k % len(free)], 50 + k), scenes[k % len(scenes)], 500 + k) for k in range(NUM_HELD_OUT)
    ]


def _without_style(text: str) -> str:
    """A prompt of the task "styles" without its last words, which name the style."""
    return text.removesuffix(" in the style of {}")
