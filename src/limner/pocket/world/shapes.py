"""Elements of a picture: solids and the scenery around them, as plain data; toys and props are lists of solids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike

from .graph import Camera

KINDS = ("ellipsoid", "cone", "box")
"""A cylinder is a cone whose taper is 1."""
SURFACES = ("plastic", "metal", "wood", "glass", "matte", "glow")
"""Materials of toys, then of scenery: `matte` has no highlight, `glow` shines by itself."""
NUM_MARKS = 3

IDENTITY = np.eye(3, 4)


@dataclass(frozen=True)
class Solid:
    """One ellipsoid, cone, cylinder or box, placed.

    `size` are half extents along the solid's own x, y, z. A cone or cylinder stands along its y; its cross-section is
    an ellipse with radii size[0], size[2] at the bottom, shrunk to `taper` times that at the top.
    """

    kind: str  # "ellipsoid" | "cylinder" | "cone" | "box"
    center: np.ndarray  # [3]
    rotation: np.ndarray  # [3, 3], columns are the solid's own axes
    size: np.ndarray  # [3] > 0
    colour: np.ndarray  # [3] sRGB in [0, 1]
    taper: float = 0.0  # cones only, in [0, 1]
    pattern: str = "plain"
    pattern_colour: np.ndarray = field(default_factory=lambda: np.ones(3))
    pattern_shape: np.ndarray = field(default_factory=lambda: np.full(4, 0.5))  # frequency, direction, phase, contrast
    frame: np.ndarray = field(default_factory=lambda: IDENTITY)  # [3, 4] world -> the coordinates patterns live in
    material: str = "plastic"
    state: str = "plain"  # one of vocabulary.STATES
    part: int = 0
    toy: int = -1  # which toy of the picture; -1 is scenery
    marks: np.ndarray | None = None  # [n <= NUM_MARKS, 7]: centre in `frame` coordinates, radius, colour


@dataclass(frozen=True)
class Scenery:
    """Everything around the toys. Colours are sRGB in [0, 1], lights are linear."""

    sky_top: np.ndarray
    sky_bottom: np.ndarray
    ground: np.ndarray
    ground_second: np.ndarray
    ground_pattern: str
    horizon: str
    backdrop: np.ndarray
    sun: np.ndarray  # [3] unit vector towards the sun
    sunlight: np.ndarray
    ambient: np.ndarray
    solids: tuple[Solid, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class Job:
    """One picture to render."""

    solids: Sequence[Solid]
    scenery: Scenery
    camera: Camera


def moved(solids: Iterable[Solid], transform: np.ndarray) -> list[Solid]:
    """The solids after x -> A x + b, where transform is [A | b], A a rotation times one positive scale."""
    matrix, shift = transform[:, :3], transform[:, 3]
    scale = float(np.linalg.norm(matrix[:, 0]))
    rotation = matrix / scale
    back = np.concatenate([matrix.T / scale**2, (-matrix.T @ shift / scale**2)[:, None]], axis=1)
    return [
        replace(
            solid,
            center=matrix @ solid.center + shift,
            rotation=rotation @ solid.rotation,
            size=solid.size * scale,
            frame=chain(solid.frame, back),
        )
        for solid in solids
    ]


def chain(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The transform [3, 4] that does `first`, then `second`."""
    return np.concatenate([second[:, :3] @ first[:, :3], (second[:, :3] @ first[:, 3] + second[:, 3])[:, None]], axis=1)


def placed(*, at: Sequence[float] = (0, 0, 0), turn: float = 0.0, scale: float = 1.0, tilt: float = 0.0) -> np.ndarray:
    """[3, 4]: tilted about x, turned about y (radians), scaled, moved."""
    matrix = scale * about("y", turn) @ about("x", tilt)
    return np.concatenate([matrix, np.asarray(at, dtype=float)[:, None]], axis=1)


def about(axis: str, angle: float) -> np.ndarray:
    """[3, 3]: the right-handed rotation about x, y or z by an angle in radians."""
    c, s = np.cos(angle), np.sin(angle)
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    matrix = np.eye(3)
    matrix[i, i], matrix[i, j], matrix[j, i], matrix[j, j] = c, -s, s, c
    return matrix


def along(direction: ArrayLike) -> np.ndarray:
    """[3, 3]: a rotation whose y axis is the direction."""
    y = np.asarray(direction, dtype=float)
    y = y / np.linalg.norm(y)
    other = np.array([1.0, 0.0, 0.0]) if abs(y[0]) < 0.9 else np.array([0.0, 0.0, 1.0])
    z = _cross(other, y)
    z /= np.linalg.norm(z)
    return np.stack([_cross(y, z), y, z], axis=1)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The cross product of two vectors [3]; numpy's own, made for stacks, takes ten times as long."""
    (a0, a1, a2), (b0, b1, b2) = a.tolist(), b.tolist()
    return np.array([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0])
