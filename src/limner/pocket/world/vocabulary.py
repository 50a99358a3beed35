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
VIEWS = ("front", "side", "back", "top", "front left", "left", "back left", "back right", "right", "front right")
"""Where the camera stands to the first toy. `side` is either side; left and right are the viewer's: "from the left"
shows the side of the toy that faces left of the picture when it is seen from the front."""
DISTANCES = ("close", "medium", "far")
DAYTIMES = ("noon", "morning", "sunset", "night")
ACTIONS = (
    "standing", "sitting", "jumping", "waving", "lying", "walking",
    "running", "cheering", "bowing", "dancing", "handstand", "cartwheel", "flying", "arabesque",
)  # fmt: skip
RELATIONS = (
    "on", "under", "inside", "behind", "next to", "holding",
    "in front of", "facing", "chasing", "back to back with", "upside down on", "towering over",
)  # fmt: skip
STATES = ("plain", "dented", "melting", "fluffy", "glowing", "mossy", "muddy", "cracked", "frosted", "rusty")
"""Adjectives of what has happened to a thing; `plain` is none of them."""
MOTIONS = ("still", "spinning", "bouncing", "swinging", "sliding", "growing", "shaking", "somersaulting", "zigzagging")
CAMERA_MOVES = ("still", "pan left", "pan right", "zoom in", "zoom out", "orbit left", "orbit right", "crane up")
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
    "oil painting",
    "woodcut",
    "mosaic",
    "pointillism",
    "blueprint",
    "crayon",
    "embroidery",
    "ink wash",
    "neon",
    "paper cut-out",
)
"""`render` is the world as it is; the others are families of image operations on it, each with individuals of its
own."""

EXPRESSIONS = ("neutral", "smiling", "sad", "surprised", "angry")
HAIRSTYLES = ("bald", "short", "long", "curly", "bun", "mohawk")
HAIR_COLOURS = ("black", "brown", "blond", "red", "gray", "blue")
AGES = ("child", "adult", "old")
GAZES = ("ahead", "left", "right", "up", "down", "closed")
"""Where the eyes look, as the viewer sees it; `closed` are closed eyes."""
HEAD_TURNS = ("ahead", "left", "right", "up", "down")
GESTURES = ("standing", "waving", "cheering", "pointing", "thinking", "arms crossed")
"""Gestures: the arms of half-length figures."""
WORN_BY_PEOPLE = ("hat", "sunglasses", "glasses", "scarf", "crown", "headphones", "necklace", "cape", "bow tie")
GARMENTS = ("t-shirt", "sweater", "shirt", "dress", "jacket", "overalls")

HELD_OUT: dict[str, tuple[str, ...]] = {
    "actions": ("handstand", "cartwheel", "flying", "arabesque"),
    "relations": ("back to back with", "upside down on", "towering over"),
    "states": ("cracked", "frosted", "rusty"),
    "motions": ("somersaulting", "zigzagging"),
    "styles": ("embroidery", "ink wash", "neon", "paper cut-out"),
}
"""Concepts that no training picture shows and no caption names, so that methods which learn them can be judged. They
are drawn only when they are asked for by name."""


def shown(field: str) -> tuple[str, ...]:
    """The words of a field ("actions", "relations", ...) that training pictures show."""
    every = {"actions": ACTIONS, "relations": RELATIONS, "states": STATES, "motions": MOTIONS, "styles": STYLES}[field]
    return tuple(word for word in every if word not in HELD_OUT[field])


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
    actions: tuple[str, ...] = shown("actions")
    relations: tuple[str, ...] = shown("relations")
    styles: tuple[str, ...] = shown("styles")
    states: tuple[str, ...] = shown("states")
    pairs: float = 0.12
    """Share of pictures with two toys in a relation."""
    triples: float = 0.03
    """Share of pictures with three toys beside each other."""
    faces: float = 0.15
    """Share of pictures that show people instead of toys."""


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
    states=("plain",),
    pairs=0.0,
    triples=0.0,
    faces=0.0,
)
"""The part that a base can learn well on two cores: eight classes, eight scenes, four accessories, one toy a
picture."""

WORLDS = {world.name: world for world in (WHOLE, CORE)}
