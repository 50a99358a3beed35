"""Scene graphs to captions: a compositional grammar with synonyms, varied order, and attributes left out at random."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .graph import Face, Individual, SceneGraph, Toy
from .vocabulary import CLASSES, COLOURS

NOUNS: dict[str, tuple[str, ...]] = {
    "cat": ("cat", "kitty"), "dog": ("dog", "puppy"), "rabbit": ("rabbit", "bunny"), "bear": ("bear", "teddy bear"),
    "elephant": ("elephant",), "penguin": ("penguin",), "robot": ("robot",), "gnome": ("gnome", "garden gnome"),
    "car": ("car",), "truck": ("truck", "lorry"), "plane": ("plane", "airplane"), "boat": ("boat", "ship"),
    "teapot": ("teapot",), "mug": ("mug", "cup"), "backpack": ("backpack", "rucksack"), "house": ("house",),
    "plant": ("plant", "potted plant"), "chair": ("chair",), "lamp": ("lamp",),
}  # fmt: skip
PLACES: dict[str, tuple[str, ...]] = {
    "beach": ("on the beach", "at the beach", "on a sandy beach"), "snow": ("in the snow", "on snow"),
    "jungle": ("in the jungle", "in a jungle"), "city": ("in the city", "in a city", "on a city street"),
    "desert": ("in the desert", "in a desert"), "night sky": ("under the night sky", "at night under the stars"),
    "kitchen": ("in the kitchen", "in a kitchen"), "meadow": ("in a meadow", "in the meadow"),
    "road": ("on the road", "on a road"), "sea": ("on the sea", "in the sea"), "studio": ("in the studio", "in a studio"),
    "moon": ("on the moon",), "autumn forest": ("in an autumn forest", "in the autumn forest"),
    "bedroom": ("in the bedroom", "in a bedroom"),
}  # fmt: skip
PATTERNED: dict[str, tuple[str, str]] = {
    "striped": ("striped", "stripes"), "spotted": ("spotted", "spots"), "checkered": ("checkered", "checks"),
    "patched": ("patched", "patches"), "starred": ("starred", "stars"),
}  # fmt: skip
WORN: dict[str, str] = {
    "hat": "hat", "sunglasses": "sunglasses", "scarf": "scarf", "crown": "crown", "bow tie": "bow tie", "cape": "cape",
    "backpack straps": "backpack on its back", "balloon": "balloon in its hand",
}  # fmt: skip
UNCOLOURED = ("sunglasses", "crown")
VIEWED = {
    "front": ("from the front", "front view"), "side": ("from the side", "side view"),
    "back": ("from behind", "back view"), "top": ("from above", "top view"),
}  # fmt: skip
TIMED = {"morning": "in the morning", "sunset": "at sunset", "night": "at night"}
STYLED = {
    "watercolour": "a watercolour of", "line drawing": "a line drawing of", "pixel art": "pixel art of",
    "pop art": "pop art of", "charcoal": "a charcoal drawing of", "stained glass": "stained glass of",
    "risograph": "a risograph of", "clay": "a clay figure of",
}  # fmt: skip
PREFIXES = ("a photo of", "a picture of", "an image of", "a photo of", "")
NONCE = (
    "zib", "mok", "dax", "wug", "fep", "lorp", "vash", "quib", "tizz", "yor", "blick", "nuff",
    "drell", "skov", "plim", "hojo", "grex", "ulma", "sneth", "kiro", "vop", "jant", "rilk", "ombo",
)  # fmt: skip
"""Invented names that mean nothing: the base sees them with every toy alike, so methods can use them as rare words."""


class Prompt(NamedTuple):
    """Something to ask of a taught subject, and the truth to judge the answer by."""

    text: str  # with {} for the subject
    scene: str
    accessories: tuple[tuple[str, str], ...] = ()
    view: str = "front"


PROMPTS = (
    Prompt("{} on the beach", "beach"),
    Prompt("{} in the snow", "snow"),
    Prompt("{} in the jungle wearing a red hat", "jungle", (("hat", "red"),)),
    Prompt("{} in the city", "city"),
    Prompt("{} in the desert wearing sunglasses", "desert", (("sunglasses", "black"),)),
    Prompt("{} under the night sky", "night sky"),
    Prompt("{} in the kitchen wearing a crown", "kitchen", (("crown", "red"),)),
    Prompt("{} in a meadow wearing a blue scarf", "meadow", (("scarf", "blue"),)),
)
"""What the core of the world is asked of every taught toy."""


def caption(graph: SceneGraph, *, seed: int | None = None, name: str | None = None) -> str:
    """What can be said of a picture. A seed varies words and order and leaves things out; None says everything, plainly.

    `name` is said instead of the first toy's looks ("<rex> on the beach"). One caption in twenty has a word of NONCE.
    """
    say = _Saying(seed)
    if graph.face is not None:
        return say.tidy(f"{say.one(('a portrait of', 'a photo of'))} {_person(graph.face, say)}")
    who = name or _toy(graph.toys[0], say)
    if graph.relation and len(graph.toys) == 2:
        who = f"{who} {graph.relation} {_toy(graph.toys[1], say)}"
    where = say.one(PLACES[graph.scene]) if say.keeps(0.85) else ""
    when = TIMED[graph.daytime] if graph.daytime in TIMED and graph.scene != "night sky" and say.keeps(0.8) else ""
    seen = say.one(VIEWED[graph.view]) if (graph.view != "front" and say.keeps(0.75)) or say.chance(0.12) else ""
    start = STYLED[graph.style] if graph.style in STYLED else say.one(PREFIXES)
    start = (
        {"close": "a close-up of", "far": "a distant view of"}.get(graph.distance, start)
        if start in PREFIXES
        else start
    )
    if where and say.chance(0.15):
        return say.tidy(f"{where} {when}, {start} {who}, {seen}")
    return say.tidy(f"{start} {who} {where} {when}, {seen}")


def describe(who: Individual) -> str:
    """An individual's looks in words, without article: "red and blue striped dog"."""
    first, second, _ = who.colours
    if who.pattern == "plain":
        return f"{first} {who.kind}"
    return f"{first} and {second} {PATTERNED[who.pattern][0]} {who.kind}"


def words() -> tuple[str, ...]:
    """Every word the grammar can say, sorted."""
    texts: list[str] = [
        *CLASSES,
        *COLOURS,
        *NONCE,
        *PREFIXES,
        *WORN.values(),
        *TIMED.values(),
        *STYLED.values(),
        *_EXTRA,
    ]
    for table in (NOUNS, PLACES, PATTERNED, VIEWED, _ACTIONS, _EXPRESSIONS):
        texts += [text for options in table.values() for text in options]
    return tuple(sorted({word for text in texts for word in text.replace(",", " ").split()}))


def known() -> dict[str, tuple[str, ...]]:
    """Every word and phrase that means something to the pocket base, by kind; a kind of toy with the other words for it."""
    return {
        "toys": tuple(" or ".join(names) for names in NOUNS.values()),
        "colours": tuple(COLOURS),
        "patterns": tuple(name for name, _ in PATTERNED.values()),
        "places": tuple(" or ".join(dict.fromkeys(names)) for names in PLACES.values()),
        "worn": tuple(WORN.values()),
        "actions": tuple(" or ".join(names) for names in _ACTIONS.values()),
        "faces": tuple(name for names in _EXPRESSIONS.values() for name in names),
        "views": tuple(" or ".join(names) for names in VIEWED.values()),
        "times of day": tuple(TIMED.values()),
        "styles": tuple(STYLED.values()),
    }


def strange(text: str) -> list[str]:
    """The words of a text that mean nothing to the pocket base, in order; handles such as <rex> are left out."""
    plain = re.sub(r"<[^<>]*>", " ", text.lower())
    met = frozenset(words())
    return list(dict.fromkeys(word for word in re.findall(r"[^\W\d_]+(?:-[^\W\d_]+)*", plain) if word not in met))


_ACTIONS = {
    "sitting": ("sitting", "sitting down"), "jumping": ("jumping", "jumping up"), "waving": ("waving", "waving a hand"),
    "lying": ("lying down", "lying on its side"), "walking": ("walking",),
}  # fmt: skip
_EXPRESSIONS = {
    "smiling": ("smiling",), "sad": ("looking sad",), "surprised": ("looking surprised",), "angry": ("looking angry",),
}  # fmt: skip
_EXTRA = (
    "a an and with wearing in the one toy plastic metal wooden glass on under inside behind next to holding close-up of",
    "distant view portrait photo child adult old person bald short long curly hair bun mohawk blond glasses it is standing",
)


class _Saying:
    """The chances of one caption."""

    def __init__(self, seed: int | None) -> None:
        self.rng = None if seed is None else np.random.default_rng((seed, 41))

    def one(self, options: Sequence[str]) -> str:
        return options[0 if self.rng is None else int(self.rng.integers(len(options)))]

    def keeps(self, share: float) -> bool:
        """Whether something true is said: always, when everything is."""
        return self.rng is None or bool(self.rng.random() < share)

    def chance(self, share: float) -> bool:
        """Whether to do something unusual: never, when everything is said plainly."""
        return self.rng is not None and bool(self.rng.random() < share)

    def tidy(self, text: str) -> str:
        text = " ".join(text.split()).replace(" ,", ",").strip(", ")
        return text.replace(",,", ",")


def _toy(toy: Toy, say: _Saying) -> str:
    first, second, _ = toy.individual.colours
    noun, pattern = say.one(NOUNS[toy.individual.kind]), PATTERNED.get(toy.individual.pattern)
    material = {"wood": "wooden", "metal": "metal", "glass": "glass"}.get(toy.material, "") if say.keeps(0.85) else ""
    nonce = NONCE[int(say.rng.integers(len(NONCE)))] if say.rng is not None and say.chance(0.05) else ""
    after = ""
    if not say.keeps(0.8):
        looks = ""
    elif pattern is None:
        looks = first
    elif say.keeps(0.75):
        looks = f"{first} and {second} {pattern[0]}"
        if say.chance(0.35):
            looks, after = first, f"with {second} {pattern[1]}"
    else:
        looks = say.one((first, pattern[0]))
    worn = _worn(toy, say)
    doing = say.one(_ACTIONS[toy.action]) if toy.action in _ACTIONS and say.keeps(0.9) else ""
    core = " ".join(f"{material} {looks} {nonce} {noun} {after}".split())
    return f"{_article(core)} {core} {doing} {worn}"


def _worn(toy: Toy, say: _Saying) -> str:
    things = []
    for name, colour in zip(toy.accessories, toy.accessory_colours, strict=True):
        if say.keeps(0.9):
            said = WORN[name] if name in UNCOLOURED or not say.keeps(0.8) else f"{colour} {WORN[name]}"
            things.append(said if name == "sunglasses" else f"{_article(said)} {said}")
    return f"{say.one(('wearing', 'with', 'wearing'))} {' and '.join(things)}" if things else ""


def _person(face: Face, say: _Saying) -> str:
    who = face.person
    noun = {"child": "child", "adult": "person", "old": "old person"}[who.age]
    if who.hairstyle == "bald":
        hair = "bald " if say.keeps(0.8) else ""
        text = f"a {hair}{noun}"
    else:
        style = (
            "a bun" if who.hairstyle == "bun" else "a mohawk" if who.hairstyle == "mohawk" else f"{who.hairstyle} hair"
        )
        coloured = (
            style.replace("a ", f"a {who.hair_colour} ")
            if style.startswith("a ")
            else f"{who.hairstyle} {who.hair_colour} hair"
        )
        text = f"{_article(noun)} {noun}" + (f" with {coloured}" if say.keeps(0.8) else "")
    if face.glasses and say.keeps(0.9):
        text += " wearing glasses"
    if face.expression in _EXPRESSIONS and say.keeps(0.9):
        text += f", {say.one(_EXPRESSIONS[face.expression])}"
    return text


def _article(word: str) -> str:
    return "an" if word[:1] in "aeiou" else "a"
