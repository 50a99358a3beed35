"""The state of a picture in a conversation: everything that its pixels depend on, as plain values.

A state and the picture that it is painted onto give the same bits whenever they are painted on one base, so that going
back is exact.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from limner.core.wording import with_article
from limner.errors import InputError

Part: TypeAlias = Literal["all", "background", "thing", "accessory", "background and accessory"]
"""The part of the earlier picture that may change: everything, everything but the things, a thing as a whole, or
something on a thing."""

BESIDE = "next to"


@dataclass(frozen=True, kw_only=True)
class Accessory:
    """Something that a thing has on: a hat."""

    noun: str
    colour: str = ""

    @property
    def text(self) -> str:
        return _noun_phrase(" ".join(filter(None, (self.colour, self.noun))))


@dataclass(frozen=True, kw_only=True)
class Thing:
    """A subject of the picture: a learned one, with a handle, or any other."""

    name: str  # the word that the conversation calls it by: "rex", "cat"
    noun: str  # its class
    handle: str = ""  # "<rex>"; empty for a thing that no concept shows
    concept: str = ""  # hash of the concept's tensors, which changes with every preference step
    strength: float = 1.0  # strength of the concept
    colour: str = ""
    looks: tuple[str, ...] = ()  # "striped", "wooden"
    action: str = ""
    accessories: tuple[Accessory, ...] = ()
    count: int = 1
    region: str = ""  # a word of `limner.core.regions`, such as "left"

    @property
    def text(self) -> str:
        """The thing in a prompt, with its looks, action and accessories."""
        core = " ".join(filter(None, (self.colour, *self.looks, self.handle or self._counted)))
        if not self.handle:
            core = f"{NUMBERS.get(self.count, str(self.count))} {core}" if self.count > 1 else with_article(core)
        has = " and ".join(each.text for each in self.accessories)
        return " ".join(filter(None, (core, self.action, f"wearing {has}" if has else "")))

    @property
    def _counted(self) -> str:
        return plural(self.noun) if self.count > 1 else self.noun


@dataclass(frozen=True, kw_only=True)
class State:
    """A picture in words and numbers, and the earlier picture that it is painted onto, if any."""

    things: tuple[Thing, ...] = ()
    relation: str = BESIDE  # between the first thing and the second
    scene: str = ""  # "on the beach"
    time: str = ""  # "at sunset"
    view: str = ""  # "from the side"
    style: str = ""  # "a watercolour of", "in the style of an old map"
    avoid: tuple[str, ...] = ()  # words of the negative prompt
    seed: int = 0
    steps: int = 25
    guidance: float = 4.0
    onto: str = ""  # id of the turn whose picture it is painted onto; empty: from noise
    part: Part = "all"  # the part of that picture that may change

    @property
    def prompt(self) -> str:
        """The prompt, with handles. Raises `InputError` for a state without anything to show."""
        things = [thing.text for thing in self.things]
        if len(things) == 2:
            what = f"{things[0]} {self.relation} {things[1]}"
        else:
            what = " and ".join(filter(None, (", ".join(things[:-1]), *things[-1:])))
        if not what and not self.scene:
            raise InputError('there is nothing to paint yet: say what to show, as in "rex on the beach"')
        at_end = self.style.startswith(("in ", "as "))
        start = "" if at_end else self.style
        text = " ".join(filter(None, (start, what, self.scene, self.time, self.style if at_end else "")))
        return ", ".join(filter(None, (text, self.view)))

    @property
    def negative(self) -> str:
        return ", ".join(self.avoid)

    def thing(self, name: str) -> Thing:
        """The thing of a name. Raises `InputError` where there is none."""
        for thing in self.things:
            if thing.name == name:
                return thing
        names = ", ".join(thing.name for thing in self.things) or "nothing"
        raise InputError(f"there is no {name} in the picture, which shows {names}")

    def with_thing(self, thing: Thing) -> State:
        """The state with this thing in the place of the one of its name."""
        self.thing(thing.name)
        return replace(self, things=tuple(thing if each.name == thing.name else each for each in self.things))

    def content(self) -> State:
        """The state without the way in which it is painted: two that are equal here ask for the same."""
        return replace(self, onto="", part="all")


NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}
COUNTS = {word: number for number, word in NUMBERS.items()} | {"one": 1, "a": 1, "an": 1}
PAIRS = ("sunglasses", "glasses", "boots", "shoes", "gloves", "trousers", "jeans", "shorts", "wings", "goggles")
"""Nouns without an article."""


def plural(noun: str) -> str:
    """The plural of a noun by the common rules.

    >>> plural("dog"), plural("puppy"), plural("box")
    ('dogs', 'puppies', 'boxes')
    """
    if re.search(r"[^aeiou]y$", noun):
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("s", "x", "ch", "sh")) else f"{noun}s"


def singular(noun: str) -> str:
    """The singular of a plural by the common rules; any other word as it is.

    >>> singular("dogs"), singular("puppies"), singular("sunglasses")
    ('dog', 'puppy', 'sunglasses')
    """
    if noun in PAIRS or noun.endswith("ss"):
        return noun
    if noun.endswith("ies"):
        return f"{noun[:-3]}y"
    if noun.endswith(("xes", "ches", "shes", "sses")):
        return noun[:-2]
    return noun.removesuffix("s")


def _noun_phrase(text: str) -> str:
    return text if text.split()[-1:] and text.split()[-1] in PAIRS else with_article(text)
