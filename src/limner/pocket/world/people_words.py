"""People in words: age, hair, garment, accessories, expression, gaze, head turn and gesture, in short phrases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from .graph import Face, Garment, SceneGraph
from .vocabulary import AGES, COLOURS, GARMENTS, HAIR_COLOURS, HAIRSTYLES, PATTERNS, WORN_BY_PEOPLE

NOUNS_OF_AGE = {"child": ("child", "kid"), "adult": ("person", "adult"), "old": ("old person", "elderly person")}
HAIR_SAID = {
    "short": "short {} hair", "long": "long {} hair", "curly": "curly {} hair", "bun": "a {} bun", "mohawk": "a {} mohawk",
}  # fmt: skip
EXPRESSED = {
    "smiling": ("smiling",), "sad": ("looking sad",), "surprised": ("looking surprised",), "angry": ("looking angry",),
}  # fmt: skip
GAZED = {
    "left": "looking left", "right": "looking right", "up": "looking up", "down": "looking down",
    "closed": "with closed eyes",
}  # fmt: skip
TURNED = {
    "left": "head turned left", "right": "head turned right", "up": "head turned up", "down": "head turned down",
}  # fmt: skip
GESTURED = {
    "waving": ("waving", "waving a hand"), "cheering": ("cheering", "cheering with both arms up"),
    "pointing": ("pointing", "pointing with a finger"), "thinking": ("thinking", "thinking with a hand on the chin"),
    "arms crossed": ("with crossed arms", "with arms crossed"),
}  # fmt: skip
JOINED = ("and", "next to")
PLURAL = ("sunglasses", "glasses", "headphones", "overalls")
"""Words without an article."""
ALIKE = ("crown",)
"""Accessories whose colour is not said: it is mostly gold."""


class Saying(Protocol):
    """The chances of one caption."""

    def one(self, options: Sequence[str]) -> str: ...

    def keeps(self, share: float) -> bool: ...

    def chance(self, share: float) -> bool: ...


@dataclass(frozen=True)
class _Brief:
    """The chances of a caption that has two people to tell of: each thing is left out more often."""

    say: Saying

    def one(self, options: Sequence[str]) -> str:
        return self.say.one(options)

    def keeps(self, share: float) -> bool:
        return self.say.keeps(0.65 * share)

    def chance(self, share: float) -> bool:
        return self.say.chance(share)


def say_people(graph: SceneGraph, say: Saying) -> str:
    """The people of a picture from the viewer's left to right, without the place and the style."""
    saying = say if len(graph.people) == 1 else _Brief(say)
    texts = [say_person(face, saying) for face in graph.people]
    return f" {say.one(JOINED)} ".join(texts)


def say_person(face: Face, say: Saying, *, name: str | None = None) -> str:
    """One person: "a person with short blond hair in a red striped sweater wearing a blue hat, smiling, looking left".

    `name` is said in the place of age and hair.
    """
    core = f"{name or _looks(face, say)} {_clothes(face.garment, say)} {_say_accessories(face, say)}"
    return ", ".join(" ".join(part.split()) for part in (core, *_doing(face, say)) if part)


def words() -> tuple[str, ...]:
    """Every word that can be said of people, sorted."""
    texts: list[str] = [
        *AGES, *COLOURS, *GARMENTS, *HAIR_COLOURS, *HAIRSTYLES, *WORN_BY_PEOPLE, *GAZED.values(), *TURNED.values(), *JOINED,
        *(name for name in PATTERNS if name != "plain"), "a an and bald in with wearing",
        *(text.replace("{}", "") for text in HAIR_SAID.values()),
    ]  # fmt: skip
    for table in (NOUNS_OF_AGE, EXPRESSED, GESTURED):
        texts += [text for options in table.values() for text in options]
    return tuple(sorted({word for text in texts for word in text.split()}))


def _looks(face: Face, say: Saying) -> str:
    who, noun = face.person, say.one(NOUNS_OF_AGE[face.person.age])
    if not say.keeps(0.85):
        return _with_article(noun)
    if who.hairstyle == "bald":
        return _with_article(f"bald {noun}")
    colour = who.hair_colour if say.keeps(0.9) else ""
    return f"{_with_article(noun)} with {_tidy_article(HAIR_SAID[who.hairstyle].format(colour))}"


def _clothes(garment: Garment | None, say: Saying) -> str:
    if garment is None or not say.keeps(0.8):
        return ""
    first, second = garment.colours
    if garment.pattern == "plain":
        looks = first
    elif say.keeps(0.6):
        looks = f"{first} and {second} {garment.pattern}"
    else:
        looks = say.one((f"{first} {garment.pattern}", first, garment.pattern))
    return f"in {_with_article(f'{looks} {garment.kind}')}"


def _say_accessories(face: Face, say: Saying) -> str:
    pairs = list(zip(face.accessories, face.accessory_colours, strict=True))
    if face.glasses and "glasses" not in face.accessories:
        pairs.append(("glasses", ""))
    things = []
    for name, colour in pairs:
        if say.keeps(0.9):
            coloured = name not in ALIKE and say.keeps(0.85)
            things.append(_with_article(f"{colour} {name}" if coloured else name))
    return f"wearing {' and '.join(things)}" if things else ""


def _doing(face: Face, say: Saying) -> list[str]:
    phrases = []
    if face.expression in EXPRESSED and say.keeps(0.9):
        phrases.append(say.one(EXPRESSED[face.expression]))
    if face.gaze in GAZED and say.keeps(0.85):
        phrases.append(GAZED[face.gaze])
    if face.head in TURNED and say.keeps(0.85):
        phrases.append(TURNED[face.head])
    if face.action in GESTURED and say.keeps(0.9):
        phrases.append(say.one(GESTURED[face.action]))
    return phrases


def _with_article(text: str) -> str:
    text = " ".join(text.split())
    if text.split()[-1] in PLURAL:
        return text
    return f"{'an' if text[0] in 'aeiou' else 'a'} {text}"


def _tidy_article(text: str) -> str:
    """The article before the word that follows it."""
    text = " ".join(text.split())
    return text.replace("a ", "an ", 1) if text.startswith("a ") and text[2] in "aeiou" else text
