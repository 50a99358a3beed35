"""Building blocks of toys: solids, limbs, eyes, marks, and anchors for accessories."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from .actions import Pose
from .graph import Individual
from .shapes import Solid, along

PARTS = ("body", "head", "limb", "ear", "tail", "face", "detail", "wheel", "accessory")
Point: TypeAlias = "ArrayLike"
BLACK, WHITE = np.array([0.06, 0.06, 0.07]), np.array([0.96, 0.96, 0.96])


@dataclass(frozen=True)
class Anchor:
    """Where something can be worn: a place, an orientation and the half extents of what is there."""

    at: np.ndarray  # [3] in the toy's coordinates
    size: np.ndarray  # [3]
    rotation: np.ndarray = field(default_factory=lambda: np.eye(3))


class Maker:
    """Collects the solids of one toy, in its own coordinates."""

    def __init__(self, who: Individual, stance: Pose) -> None:
        self.who, self.pose = who, stance
        self.solids: list[Solid] = []
        self.anchors: dict[str, Anchor] = {}
        self.marks = np.zeros((0, 7))
        self.first, self.second, self.third = who.tints

    def p(self, index: int, low: float, high: float) -> float:
        """A proportion between low and high, from the shape vector."""
        return low + (high - low) * float(self.who.shape[index])

    def add(
        self,
        kind: str,
        at: Point,
        size: Point,
        colour: np.ndarray | None = None,
        *,
        part: str = "body",
        rotation: np.ndarray | None = None,
        taper: float = 0.0,
        pattern: bool = False,
        material: str = "plastic",
    ) -> None:
        self.solids.append(
            Solid(
                kind,
                np.asarray(at, dtype=float),
                np.eye(3) if rotation is None else rotation,
                np.maximum(np.asarray(size, dtype=float), 0.004),
                self.first if colour is None else colour,
                taper=taper,
                pattern=self.who.pattern if pattern else "plain",
                pattern_colour=self.second,
                pattern_shape=self.who.pattern_shape,
                part=PARTS.index(part),
                toy=0,
                material=material,
            )
        )

    def limb(
        self,
        joint: Point,
        direction: Point,
        length: float,
        radius: float,
        *,
        pattern: bool = False,
        kind: str = "ellipsoid",
    ) -> np.ndarray:
        """A limb from its joint; returns where it ends."""
        way = np.asarray(direction, dtype=float) / np.linalg.norm(direction)
        start = np.asarray(joint, dtype=float)
        end = start + length * way
        self.add(
            kind,
            (start + end) / 2,
            (radius, length / 2 + 0.6 * radius, radius),
            part="limb",
            rotation=along(way),
            pattern=pattern,
            taper=0.75,
        )
        return end

    def mark(self, center: Point, size: Point, *, base: float = 0.05) -> None:
        """The individual's marks, on an ellipsoid: longitude and latitude from its identity, mostly to the front."""
        rows = []
        for longitude, latitude, extent, which in self.who.marks:
            around, above = (longitude - 0.5) * 2.4, (latitude - 0.5) * 1.8
            way = np.array([math.sin(around) * math.cos(above), math.sin(above), math.cos(around) * math.cos(above)])
            colour = self.third if which < 0.7 else self.second
            rows.append([*(np.asarray(center) + way * np.asarray(size)), base * (0.7 + extent), *colour])
        self.marks = np.array(rows)

    def anchor(self, name: str, at: Point, size: Point, rotation: np.ndarray | None = None) -> None:
        self.anchors[name] = Anchor(
            np.asarray(at, dtype=float), np.asarray(size, dtype=float), np.eye(3) if rotation is None else rotation
        )

    def eyes(self, y: float, z: float, apart: float, radius: float) -> None:
        for side in (-1, 1):
            self.add("ellipsoid", (side * apart, y, z), (radius,) * 3, WHITE, part="face", material="matte")
            self.add("ellipsoid", (side * apart * 0.96, y, z + 0.62 * radius), (radius * 0.6,) * 3, BLACK, part="face")


def swing(angle: float, side: int, spread: float) -> tuple[float, float, float]:
    """A hanging limb's direction after swinging forwards by an angle (radians; pi is straight up)."""
    return (side * spread, -math.cos(angle), math.sin(angle))
