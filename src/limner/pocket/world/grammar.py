"""Scene graphs to captions: a compositional grammar with synonyms, varied order, and attributes left out at random."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from . import people_words
from .graph import Individual, SceneGraph, Toy
from .vocabulary import CLASSES, COLOURS, HELD_OUT, shown

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
    "front left": ("from the front left",), "left": ("from the left", "left view"), "back left": ("from behind left",),
    "back right": ("from behind right",), "right": ("from the right", "right view"), "front right": ("from the front right",),
}  # fmt: skip
TIMED = {"morning": "in the morning", "sunset": "at sunset", "night": "at night"}
STYLED = {
    "watercolour": "a watercolour of", "line drawing": "a line drawing of", "pixel art": "pixel art of",
    "pop art": "pop art of", "charcoal": "a charcoal drawing of", "stained glass": "stained glass of",
    "risograph": "a risograph of", "clay": "a clay figure of", "oil painting": "an oil painting of", "woodcut": "a woodcut of",
    "mosaic": "a mosaic of", "pointillism": "a pointillist painting of", "blueprint": "a blueprint of",
    "crayon": "a crayon drawing of", "embroidery": "an embroidery of", "ink wash": "an ink wash of", "neon": "a neon sign of",
    "paper cut-out": "a paper cut-out of",
}  # fmt: skip
MOVED = {
    "pan left": "panning left", "pan right": "panning right", "zoom in": "zooming in", "zoom out": "zooming out",
    "orbit left": "orbiting left", "orbit right": "orbiting right", "crane up": "craning up",
}  # fmt: skip
"""How a clip says the move of its camera."""
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
"""Prompts of the core of the world for every toy that is learned."""


def caption(graph: SceneGraph, *, seed: int | None = None, name: str | None = None) -> str:
    """A caption of a picture. A seed varies words and order and leaves things out; None describes everything, plainly.

    `name` is said instead of the first toy's looks ("<rex> on the beach"). One caption in twenty has a word of NONCE.
    """
    say = _Saying(seed)
    who = _all_people(graph, say, name) if graph.people else _all_toys(graph, say, name)
    where = say.one(PLACES[graph.scene]) if say.keeps(0.85) else ""
    when = TIMED[graph.daytime] if graph.daytime in TIMED and graph.scene != "night sky" and say.keeps(0.8) else ""
    seen = say.one(VIEWED[graph.view]) if (graph.view != "front" and say.keeps(0.75)) or say.chance(0.12) else ""
    moves = MOVED[graph.camera_move] if graph.camera_move in MOVED and say.keeps(0.9) else ""
    seen = ", ".join(part for part in (seen, moves) if part)
    start = STYLED[graph.style] if graph.style in STYLED else say.one(PREFIXES)
    if start in PREFIXES:
        start = (_NEAR_PEOPLE if graph.people else _NEAR_TOYS).get(graph.distance, start)
    if where and say.chance(0.15):
        return say.tidy(f"{where} {when}, {start} {who}, {seen}")
    return say.tidy(f"{start} {who} {where} {when}, {seen}")


def _all_people(graph: SceneGraph, say: _Saying, name: str | None) -> str:
    """The people of a picture in words; `name` in the place of the first one's looks."""
    if name is None:
        return people_words.say_people(graph, say)
    first, *others = graph.people
    descriptions = [
        people_words.say_person(first, say, name=name),
        *(people_words.say_person(face, say) for face in others),
    ]
    return " and ".join(descriptions)


def _all_toys(graph: SceneGraph, say: _Saying, name: str | None) -> str:
    """The toys of a picture in words; `name` in the place of the first one's looks."""
    first, *others = graph.toys
    who = name or _toy(first, say)
    if graph.relation and len(others) == 1:
        return f"{who} {graph.relation} {_toy(others[0], say)}"
    if not others:
        return who
    *middle, last = (_toy(toy, say) for toy in others)
    return f"{', '.join([who, *middle])} and {last}{' in a row' if say.keeps(0.3) else ''}"


def describe(who: Individual) -> str:
    """An individual's looks in words, without article: "red and blue striped dog"."""
    first, second, _ = who.colours
    if who.pattern == "plain":
        return f"{first} {who.kind}"
    return f"{first} and {second} {PATTERNED[who.pattern][0]} {who.kind}"


def doing(action: str) -> str:
    """An action in plain words; nothing for standing."""
    return _ACTIONS[action][0] if action in _ACTIONS else ""


def words() -> tuple[str, ...]:
    """Every word the grammar can say, sorted."""
    texts: list[str] = [
        *CLASSES,
        *COLOURS,
        *NONCE,
        *PREFIXES,
        *WORN.values(),
        *TIMED.values(),
        *(text for style, text in STYLED.items() if style not in HELD_OUT["styles"]),
        *shown("relations"),
        *shown("states"),
        *(motion for motion in shown("motions") if motion != "still"),
        *MOVED.values(),
        *people_words.words(),
        *_EXTRA,
    ]
    doing = {action: options for action, options in _ACTIONS.items() if action not in HELD_OUT["actions"]}
    for table in (NOUNS, PLACES, PATTERNED, VIEWED, doing):
        texts += [text for options in table.values() for text in options]
    return tuple(sorted({word for text in texts for word in text.replace(",", " ").split()}))


def phrases() -> dict[str, tuple[str, ...]]:
    """Every word and phrase that training captions say, by kind; a kind of toy with the other words for it."""
    doing = {action: options for action, options in _ACTIONS.items() if action not in HELD_OUT["actions"]}
    return {
        "toys": tuple(" or ".join(names) for names in NOUNS.values()),
        "colours": tuple(COLOURS),
        "patterns": tuple(name for name, _ in PATTERNED.values()),
        "states": shown("states")[1:],
        "places": tuple(" or ".join(dict.fromkeys(names)) for names in PLACES.values()),
        "worn": tuple(WORN.values()),
        "actions": tuple(" or ".join(names) for names in doing.values()),
        "relations": shown("relations"),
        "faces": tuple(name for names in people_words.EXPRESSED.values() for name in names),
        "gazes": (*people_words.GAZED.values(), *people_words.TURNED.values()),
        "views": tuple(" or ".join(names) for names in VIEWED.values()),
        "times of day": tuple(TIMED.values()),
        "styles": tuple(text for style, text in STYLED.items() if style not in HELD_OUT["styles"]),
    }


_ACTIONS = {
    "sitting": ("sitting", "sitting down"), "jumping": ("jumping", "jumping up"), "waving": ("waving", "waving a hand"),
    "lying": ("lying down", "lying on its side"), "walking": ("walking",), "running": ("running",),
    "cheering": ("cheering", "with both arms up"), "bowing": ("bowing",), "dancing": ("dancing",),
    "handstand": ("doing a handstand",), "cartwheel": ("doing a cartwheel",), "flying": ("flying",),
    "arabesque": ("in an arabesque",),
}  # fmt: skip
_NEAR_TOYS = {"close": "a close-up of", "far": "a distant view of"}
_NEAR_PEOPLE = {"close": "a portrait of"}
_EXTRA = (
    "a an and with wearing in the one toy plastic metal wooden glass on under inside behind next to holding close-up of",
    "distant view portrait photo child adult old person bald short long curly hair bun mohawk blond glasses it is standing row",
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
    accessories = _say_accessories(toy, say)
    does = say.one(_ACTIONS[toy.action]) if toy.action in _ACTIONS and say.keeps(0.9) else ""
    does += f" {toy.motion}" if toy.motion != "still" and say.keeps(0.95) else ""
    state = toy.state if toy.state != "plain" and say.keeps(0.9) else ""
    core = " ".join(f"{state} {material} {looks} {nonce} {noun} {after}".split())
    return f"{with_article(core)} {does} {accessories}"


def _say_accessories(toy: Toy, say: _Saying) -> str:
    things = []
    for name, colour in zip(toy.accessories, toy.accessory_colours, strict=True):
        if say.keeps(0.9):
            phrase = WORN[name] if name in UNCOLOURED or not say.keeps(0.8) else f"{colour} {WORN[name]}"
            things.append(phrase if name == "sunglasses" else with_article(phrase))
    return f"{say.one(('wearing', 'with', 'wearing'))} {' and '.join(things)}" if things else ""


def with_article(words: str) -> str:
    """Words with "a" or "an" before them."""
    return f"{'an' if words[:1] in 'aeiou' else 'a'} {words}"
