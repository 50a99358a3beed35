"""The scene graph: what is in a picture, as plain data. Drawing it (`drawing.py`) and saying it (`grammar.py`) both start here.

Axes: x right, y up, z towards the viewer of a front view; the ground is y = 0. A toy stands at its feet, is about 1 unit
tall, and faces +z before `turn`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

SPLITS = {"train": range(1_000_000), "dev": range(1_000_000, 1_010_000), "held-out": range(2_000_000, 2_010_000)}
"""Individuals by split: disjoint ranges of the seed that makes an individual."""

NUM_SHAPE = 12
"""Length of the continuous shape vector of every individual; each class reads its proportions from it."""

NUM_FACE = 24
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


@dataclass(frozen=True)
class Toy:
    """An individual in a picture."""

    individual: Individual
    accessories: tuple[str, ...] = ()
    accessory_colours: tuple[str, ...] = ()  # one a piece
    action: str = "standing"
    material: str = "plastic"
    place: tuple[float, float, float] = (0.0, 0.0, 0.0)
    turn: float = 0.0  # radians about y
    scale: float = 1.0


@dataclass(frozen=True)
class Face:
    """A person in a picture."""

    person: Person
    expression: str = "neutral"
    glasses: bool = False
    turn: float = 0.0


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
    toys: tuple[Toy, ...] = ()
    face: Face | None = None
    relation: str | None = None  # of toys[0] to toys[1]
    scene: str = "studio"
    daytime: str = "noon"
    view: str = "front"  # how the camera stands to toys[0]: one of vocabulary.VIEWS
    distance: str = "medium"
    style: str = "render"
    camera: Camera = field(default_factory=Camera)
    time: float = 0.0  # phase of the motion of actions, in cycles: a clip is one graph at several times
