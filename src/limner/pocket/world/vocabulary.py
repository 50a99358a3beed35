"""Every word the pocket world can say of a picture: the one list that renderer, grammar and judges share.

The order of each tuple is the label order of the judges, so words are only ever added at the end.
"""

from __future__ import annotations

from dataclasses import dataclass

ANIMALS = ("cat", "dog", "rabbit", "bear", "elephant", "penguin")
CHARACTERS = ("robot", "gnome")
THINGS = ("car", "truck", "plane", "boat", "teapot", "mug", "backpack", "house", "plant", "chair", "lamp")
CLASSES = ANIMALS + CHARACTERS + THINGS
JOINTED = ANIMALS + CHARACTERS
"""Classes with a head and limbs that move: the only ones that can act."""

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.86, 0.13, 0.12),
    "orange": (0.96, 0.52, 0.09),
    "yellow": (0.97, 0.84, 0.12),
    "green": (0.18, 0.62, 0.22),
    "blue": (0.15, 0.35, 0.85),
    "purple": (0.52, 0.20, 0.72),
    "pink": (0.96, 0.48, 0.70),
    "brown": (0.45, 0.26, 0.13),
    "white": (0.93, 0.93, 0.93),
    "black": (0.09, 0.09, 0.10),
    "gray": (0.50, 0.51, 0.53),
    "teal": (0.08, 0.62, 0.62),
}
"""Colour name -> sRGB albedo in [0, 1]."""

PATTERNS = ("plain", "striped", "spotted", "checkered", "patched", "starred")
MATERIALS = ("plastic", "metal", "wood", "glass")
ACCESSORIES = ("hat", "sunglasses", "scarf", "crown", "bow tie", "cape", "backpack straps", "balloon")
SCENES = (
    "beach",
    "snow",
    "jungle",
    "city",
    "desert",
    "night sky",
    "kitchen",
    "meadow",
    "road",
    "sea",
    "studio",
    "moon",
    "autumn forest",
    "bedroom",
)
VIEWS = ("front", "side", "back", "top")
DISTANCES = ("close", "medium", "far")
DAYTIMES = ("noon", "morning", "sunset", "night")
ACTIONS = ("standing", "sitting", "jumping", "waving", "lying", "walking")
RELATIONS = ("on", "under", "inside", "behind", "next to", "holding")
STYLES = (
    "render",
    "watercolour",
    "line drawing",
    "pixel art",
    "pop art",
    "charcoal",
    "stained glass",
    "risograph",
    "clay",
)
"""`render` is the world as it is; the others are image operations on it."""

EXPRESSIONS = ("neutral", "smiling", "sad", "surprised", "angry")
HAIRSTYLES = ("bald", "short", "long", "curly", "bun", "mohawk")
HAIR_COLOURS = ("black", "brown", "blond", "red", "gray", "blue")
AGES = ("child", "adult", "old")


@dataclass(frozen=True)
class World:
    """A named part of the world to draw from. Every field is a subset of the tuple of the same name above."""

    name: str
    classes: tuple[str, ...] = CLASSES
    scenes: tuple[str, ...] = SCENES
    accessories: tuple[str, ...] = ACCESSORIES
    patterns: tuple[str, ...] = PATTERNS
    materials: tuple[str, ...] = MATERIALS
    views: tuple[str, ...] = VIEWS
    distances: tuple[str, ...] = DISTANCES
    daytimes: tuple[str, ...] = DAYTIMES
    actions: tuple[str, ...] = ACTIONS
    relations: tuple[str, ...] = RELATIONS
    styles: tuple[str, ...] = STYLES
    pairs: float = 0.15
    """Share of pictures with two toys in a relation."""
    faces: float = 0.10
    """Share of pictures that show a face instead of toys."""


WHOLE = World("whole")
CORE = World(
    "core",
    classes=("dog", "cat", "bear", "robot", "car", "boat", "teapot", "backpack"),
    scenes=SCENES[:8],
    accessories=("hat", "sunglasses", "scarf", "crown"),
    patterns=("plain", "striped", "spotted", "patched"),
    materials=("plastic",),
    views=("front", "side"),
    distances=("medium",),
    daytimes=("noon",),
    actions=("standing",),
    relations=(),
    styles=("render",),
    pairs=0.0,
    faces=0.0,
)
"""What a base can learn well on two cores: eight classes, eight scenes, four accessories, one toy a picture."""

WORLDS = {world.name: world for world in (WHOLE, CORE)}
