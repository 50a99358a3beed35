"""The scene graph: the contents of a picture, as plain data. Rendering it (`drawing.py`) and describing it
(`grammar.py`) both start here.

Axes: x right, y up, z towards the viewer of a front view; the ground is y = 0. A toy stands at its feet, is about 1
unit tall, and faces +z before `turn`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

SPLITS = {"train": range(1_000_000), "dev": range(1_000_000, 1_010_000), "held-out": range(2_000_000, 2_010_000)}
"""Individuals by split: disjoint ranges of the seed that makes an individual."""

NUM_SHAPE = 12
"""Length of the continuous shape vector of every individual; each class reads its proportions from it."""

NUM_FACE = 40
"""Length of a face's identity vector."""


@dataclass(frozen=True)
class Individual:
    """One toy, itself from all sides: everything that does not change with pose, scene or light."""

    kind: str  # its class, one of vocabulary.CLASSES
    seed: int
    shape: np.ndarray  # [NUM_SHAPE] in [0, 1]: proportions
    colours: tuple[str, str, str]  # names of body, second (belly, roof, pattern) and third (marks, details) colour
    tints: np.ndarray  # [3, 3] the three colours as this individual has them: sRGB in [0, 1], jittered from the names
    pattern: str  # one of vocabulary.PATTERNS
    pattern_shape: np.ndarray  # [4] in [0, 1]: frequency, direction, phase, contrast of the pattern
    marks: (
        np.ndarray
    )  # [3, 4] in [0, 1]: three small marks: where on the body (longitude, latitude), size, which colour

    @property
    def code(self) -> np.ndarray:
        """The identity code: shape, tints, pattern and marks as one float32 vector."""
        from .vocabulary import PATTERNS

        one_hot = np.eye(len(PATTERNS), dtype=np.float32)[PATTERNS.index(self.pattern)]
        parts = (self.shape, self.tints.ravel(), one_hot, self.pattern_shape, self.marks.ravel())
        return np.concatenate(parts).astype(np.float32)


@dataclass(frozen=True)
class Person:
    """One face: `identity` (continuous parameters) and what can be said of it."""

    seed: int
    identity: np.ndarray  # [NUM_FACE] in [0, 1]
    skin: np.ndarray  # [3] sRGB
    hairstyle: str
    hair_colour: str
    age: str

    @property
    def code(self) -> np.ndarray:
        """The identity code: identity, skin, hairstyle, hair colour and age as one float32 vector."""
        from .vocabulary import AGES, HAIR_COLOURS, HAIRSTYLES

        named = ((self.hairstyle, HAIRSTYLES), (self.hair_colour, HAIR_COLOURS), (self.age, AGES))
        one_hots = [np.eye(len(options))[options.index(value)] for value, options in named]
        return np.concatenate([self.identity, self.skin, *one_hots]).astype(np.float32)


@dataclass(frozen=True)
class Garment:
    """Clothes of a figure, an individual thing like a toy: cut, colours and pattern."""

    kind: str  # one of vocabulary.GARMENTS
    colours: tuple[str, str]  # names of the cloth and of the pattern on it
    tints: np.ndarray  # [2, 3] the two colours as this garment has them: sRGB in [0, 1]
    pattern: str  # one of vocabulary.PATTERNS
    pattern_shape: np.ndarray  # [4] in [0, 1]: frequency, direction, phase, contrast of the pattern


@dataclass(frozen=True)
class Toy:
    """An individual in a picture."""

    individual: Individual
    accessories: tuple[str, ...] = ()
    accessory_colours: tuple[str, ...] = ()  # one each
    action: str = "standing"
    material: str = "plastic"
    place: tuple[float, float, float] = (0.0, 0.0, 0.0)
    turn: float = 0.0  # radians about y
    scale: float = 1.0
    state: str = "plain"  # one of vocabulary.STATES: what has happened to the thing, apart from who it is
    motion: str = "still"  # one of vocabulary.MOTIONS: how it moves as a whole over the cycles of `SceneGraph.time`
    tilt: float = 0.0  # radians about the toy's own z: pi is upside down


@dataclass(frozen=True)
class Face:
    """A person in a picture."""

    person: Person
    expression: str = "neutral"
    glasses: bool = False
    turn: float = 0.0  # radians: small variation of the head's turn that no word says
    gaze: str = "ahead"  # one of vocabulary.GAZES: where the eyes look, as the viewer sees it
    head: str = "ahead"  # one of vocabulary.HEAD_TURNS: where the head is turned, as the viewer sees it
    accessories: tuple[str, ...] = ()  # names of vocabulary.WORN_BY_PEOPLE
    accessory_colours: tuple[str, ...] = ()  # one each
    garment: Garment | None = None  # bare shoulders in the colour of old portraits where there is none
    action: str = "standing"  # for half-length figures: one of vocabulary.GESTURES
    place: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = 1.0


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that looks at `target` from spherical angles around it (radians, world units)."""

    azimuth: float = 0.0  # 0 sees the front (+z) of the world, pi/2 looks from +x
    elevation: float = 0.2
    distance: float = 4.0
    target: tuple[float, float, float] = (0.0, 0.5, 0.0)
    fov: float = 0.6  # full vertical angle


@dataclass(frozen=True)
class SceneGraph:
    """Everything that decides a picture, and everything true of it."""

    seed: int  # seeds the props of the scene and small variation that is no part of an identity
    toys: tuple[Toy, ...] = ()  # at most three
    people: tuple[Face, ...] = ()  # at most two
    relation: str | None = None  # relation of toys[0] to toys[1]
    scene: str = "studio"
    daytime: str = "noon"
    view: str = "front"  # how the camera stands to toys[0]: one of vocabulary.VIEWS
    distance: str = "medium"  # with people, "close" is a portrait and "medium" a half-length figure
    style: str = "render"  # one of vocabulary.STYLES, a family
    style_seed: int | None = None  # which individual of the family (styles.style_of); None is the family's middle
    camera: Camera = field(default_factory=Camera)
    camera_move: str = "still"  # one of vocabulary.CAMERA_MOVES
    time: float = 0.0  # phase of the motion of actions, in cycles: a clip is one graph at several times

    @property
    def face(self) -> Face | None:
        """The first person, where there is one."""
        return self.people[0] if self.people else None
