"""Toys: from an individual's identity to solids.

A class reads its proportions from the individual's shape vector; the pose comes from the action and the time. Toys are
built in their own coordinates (feet at y = 0, about one unit tall, facing +z) and then placed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from .actions import Pose, pose
from .graph import NUM_SHAPE, Individual, Toy
from .shapes import Solid, about, along, chain, moved, placed
from .vocabulary import CLASSES, COLOURS, JOINTED, PATTERNS

PARTS = ("body", "head", "limb", "ear", "tail", "face", "detail", "wheel", "accessory")
Point: TypeAlias = "ArrayLike"
BLACK, WHITE = np.array([0.06, 0.06, 0.07]), np.array([0.96, 0.96, 0.96])


@dataclass(frozen=True)
class Anchor:
    """Where something can be worn: a place, an orientation and the half extents of what is there."""

    at: np.ndarray  # [3] in the toy's coordinates
    size: np.ndarray  # [3]
    rotation: np.ndarray = field(default_factory=lambda: np.eye(3))


@dataclass(frozen=True)
class Built:
    """A toy as solids in the world, and its anchors in the world."""

    solids: list[Solid]
    anchors: dict[str, Anchor]


def individual(kind: str, seed: int, *, patterns: Sequence[str] = PATTERNS) -> Individual:
    """The individual of that class and seed: the same one for ever, whatever is drawn of it."""
    rng = np.random.default_rng((seed, CLASSES.index(kind)))
    shape = rng.random(NUM_SHAPE)
    names = list(COLOURS)
    first, second, third = rng.choice(len(names), 3, replace=False)
    tints = np.stack(
        [np.clip(np.array(COLOURS[names[k]]) + rng.normal(0, 0.035, 3), 0.02, 1) for k in (first, second, third)]
    )
    weights = np.array([0.4 if name == "plain" else 1.0 for name in PATTERNS])
    draws = rng.random(len(PATTERNS)) ** (
        1 / weights
    )  # one draw a pattern, so that a subset keeps the order of the rest
    pattern = max(patterns, key=lambda name: draws[PATTERNS.index(name)])
    return Individual(
        kind,
        seed,
        shape,
        (names[first], names[second], names[third]),
        tints,
        pattern,
        rng.random(4),
        rng.random((3, 4)),
    )


def build(toy: Toy, *, time: float = 0.0) -> Built:
    """The toy in the world, in its pose, with what it wears."""
    from .accessories import wear

    maker = _Maker(toy.individual, pose(toy.action if toy.individual.kind in JOINTED else "standing", time))
    _CLASSES[toy.individual.kind](maker)
    solids = [_finished(solid, toy, maker) for solid in maker.solids]
    for name, colour in zip(toy.accessories, toy.accessory_colours, strict=True):
        solids += wear(name, np.array(COLOURS[colour]), maker.anchors)
    stance = chain(placed(at=toy.place, turn=toy.turn, scale=toy.scale), maker.pose.whole)
    return Built(moved(solids, stance), {name: _moved_anchor(a, stance) for name, a in maker.anchors.items()})


def _finished(solid: Solid, toy: Toy, maker: _Maker) -> Solid:
    material = toy.material if solid.material == "plastic" else solid.material
    marks = maker.marks if solid.part in (PARTS.index("body"), PARTS.index("head")) else None
    return replace(solid, material=material, marks=marks)


def _moved_anchor(anchor: Anchor, transform: np.ndarray) -> Anchor:
    scale = float(np.linalg.norm(transform[:, 0]))
    rotation = transform[:, :3] / scale
    return Anchor(transform[:, :3] @ anchor.at + transform[:, 3], anchor.size * scale, rotation @ anchor.rotation)


class _Maker:
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


def _swing(angle: float, side: int, spread: float) -> tuple[float, float, float]:
    """A hanging limb's direction after swinging forwards by an angle (radians; pi is straight up)."""
    return (side * spread, -math.cos(angle), math.sin(angle))


# ------------------------------------------------------------------------------------------------------------ living beings


def _animal(m: _Maker, *, slim: float = 1.0, muzzle: float = 0.5, belly: bool = True) -> tuple[np.ndarray, float]:
    """Body, head, limbs and face that animals share; returns the head's centre and radius."""
    wide = m.p(0, 0.17, 0.27) * slim
    tall = m.p(1, 0.20, 0.27)
    head = m.p(2, 0.16, 0.235)
    leg = m.p(3, 0.10, 0.20)
    low = leg * (0.35 if m.pose.sitting else 1.0)
    middle = low + tall * 0.9
    m.add("ellipsoid", (0, middle, 0), (wide, tall, wide * m.p(4, 0.85, 1.0)), pattern=True)
    if belly:
        m.add("ellipsoid", (0, middle - 0.03, wide * 0.28), (wide * 0.68, tall * 0.72, wide * 0.76), m.second)
    center = np.array([0, middle + tall * 0.85 + head * 0.7, 0.03])
    m.add("ellipsoid", center, (head * m.p(5, 0.95, 1.2), head, head), part="head", pattern=True)
    m.add(
        "ellipsoid",
        center + (0, -0.28 * head, head * 0.75),
        (head * 0.42, head * 0.32, head * muzzle),
        m.second,
        part="face",
    )
    m.add(
        "ellipsoid",
        center + (0, -0.14 * head, head * (0.78 + muzzle)),
        (head * 0.15, head * 0.11, head * 0.1),
        BLACK,
        part="face",
    )
    m.eyes(center[1] + 0.22 * head, center[2] + 0.86 * head, head * m.p(6, 0.34, 0.5), head * m.p(7, 0.14, 0.22))
    arm = m.p(8, 0.17, 0.25)
    for side, angle, spread in ((-1, m.pose.left_arm, m.pose.left_spread), (1, m.pose.right_arm, m.pose.right_spread)):
        hand = m.limb(
            (side * wide * 0.85, middle + tall * 0.5, 0),
            _swing(angle, side, spread),
            arm,
            m.p(9, 0.055, 0.08),
            pattern=True,
        )
        m.add("ellipsoid", hand, (0.065, 0.065, 0.065), m.third if m.who.shape[10] > 0.5 else m.second, part="limb")
        if side == 1:
            m.anchor("hand", hand, (0.065, 0.065, 0.065))
    for side, angle in ((-1, m.pose.left_leg), (1, m.pose.right_leg)):
        foot = m.limb((side * wide * 0.5, low + 0.06, 0), _swing(angle, side, 0.12), leg + 0.02, 0.075, pattern=True)
        m.add("ellipsoid", foot + (0, 0.0, 0.04), (0.075, 0.05, 0.105), m.second, part="limb")
    m.mark((0, middle, 0), (wide, tall, wide), base=0.055)
    m.anchor("head_top", center + (0, head * 0.86, 0), (head * 0.8, head, head * 0.8))
    m.anchor("eyes", (0, center[1] + 0.22 * head, center[2] + head * 1.0), (head * 0.75, head * 0.3, head * 0.3))
    m.anchor("neck", (0, middle + tall * 0.82, 0.02), (wide * 0.82, 0.06, wide * 0.82))
    m.anchor("back", (0, middle + tall * 0.4, -wide * 0.8), (wide, tall, wide * 0.4))
    m.anchor("top", (0, center[1] + head, 0), (head, 0.02, head))
    return center, head


def _cat(m: _Maker) -> None:
    center, head = _animal(m, slim=0.85, muzzle=0.32)
    for side in (-1, 1):
        m.add(
            "cone",
            center + (side * head * 0.58, head * 0.95, 0),
            (head * 0.34, head * m.p(11, 0.32, 0.5), head * 0.2),
            part="ear",
        )
    _tail(m, up=1.0, length=m.p(10, 0.25, 0.4), radius=0.045)


def _dog(m: _Maker) -> None:
    center, head = _animal(m, muzzle=0.62)
    drop = m.p(11, 0.5, 0.9)
    for side in (-1, 1):
        at = center + (side * head * 1.08, 0.25 * head - drop * head * 0.4, 0)
        m.add(
            "ellipsoid",
            at,
            (head * 0.2, head * drop, head * 0.38),
            m.second,
            part="ear",
            rotation=about("z", side * 0.25),
        )
    _tail(m, up=0.7, length=m.p(10, 0.15, 0.28), radius=0.05)


def _rabbit(m: _Maker) -> None:
    center, head = _animal(m, slim=0.9, muzzle=0.3)
    for side in (-1, 1):
        at = center + (side * head * 0.42, head * 1.45, -0.02)
        m.add(
            "ellipsoid",
            at,
            (head * 0.22, head * m.p(11, 0.7, 1.0), head * 0.14),
            part="ear",
            rotation=about("z", -side * 0.16),
        )
    m.add(
        "ellipsoid", (0, m.p(3, 0.10, 0.20) + 0.08, -m.p(0, 0.17, 0.27) * 0.95), (0.07, 0.07, 0.07), WHITE, part="tail"
    )


def _bear(m: _Maker) -> None:
    center, head = _animal(m, slim=1.1, muzzle=0.42)
    for side in (-1, 1):
        r = head * m.p(11, 0.3, 0.42)
        m.add("ellipsoid", center + (side * head * 0.75, head * 0.78, 0), (r, r, r * 0.6), part="ear")
        m.add(
            "ellipsoid",
            center + (side * head * 0.75, head * 0.78, r * 0.3),
            (r * 0.6, r * 0.6, r * 0.45),
            m.second,
            part="ear",
        )


def _elephant(m: _Maker) -> None:
    center, head = _animal(m, slim=1.15, muzzle=0.2)
    for side in (-1, 1):
        at = center + (side * head * 1.2, 0.1 * head, -0.02)
        m.add(
            "ellipsoid",
            at,
            (head * m.p(11, 0.5, 0.75), head * 0.75, head * 0.12),
            m.second,
            part="ear",
            rotation=about("y", -side * 0.45),
        )
        m.add(
            "cone",
            center + (side * head * 0.4, -0.55 * head, head * 1.0),
            (0.025, 0.09, 0.025),
            WHITE,
            part="face",
            rotation=about("x", 2.2),
        )
    joint = center + (0, -0.2 * head, head * 0.9)
    for k in range(4):
        m.add(
            "ellipsoid",
            joint + (0, -0.075 * k, 0.05 + 0.012 * k * k),
            (0.055 - 0.006 * k, 0.06, 0.055 - 0.006 * k),
            part="face",
        )


def _penguin(m: _Maker) -> None:
    center, head = _animal(m, slim=1.05, muzzle=0.2)
    m.add(
        "cone",
        center + (0, -0.15 * head, head * 1.15),
        (head * 0.22, head * m.p(11, 0.25, 0.45), head * 0.16),
        np.array([0.96, 0.6, 0.1]),
        part="face",
        rotation=about("x", math.pi / 2),
    )
    _tail(m, up=-0.3, length=0.12, radius=0.06)


def _tail(m: _Maker, *, up: float, length: float, radius: float) -> None:
    start = np.array([0, m.p(3, 0.10, 0.20) + 0.08, -m.p(0, 0.17, 0.27) * 0.7])
    way = np.array([0.25, up, -0.8])
    way = way / np.linalg.norm(way)
    m.add(
        "ellipsoid",
        start + way * length * 0.6,
        (radius, length * 0.65, radius),
        m.first,
        part="tail",
        rotation=along(way),
        pattern=True,
    )


def _robot(m: _Maker) -> None:
    wide, tall, head = m.p(0, 0.15, 0.25), m.p(1, 0.17, 0.25), m.p(2, 0.12, 0.18)
    leg = m.p(3, 0.10, 0.2)
    low = leg * (0.3 if m.pose.sitting else 1.0)
    middle = low + tall
    m.add("box", (0, middle, 0), (wide, tall, wide * 0.7), pattern=True)
    m.add("box", (0, middle + tall * 0.1, wide * 0.7), (wide * 0.5, tall * 0.35, 0.015), m.third, part="detail")
    center = np.array([0, middle + tall + head * 1.1, 0])
    if m.who.shape[4] > 0.35:
        m.add("box", center, (head * m.p(5, 1.0, 1.3), head * 0.9, head * 0.9), m.second, part="head")
    else:
        m.add("cylinder", center, (head * 1.1, head * 0.9, head), m.second, part="head")
    m.add("cylinder", center + (0, -head, 0), (head * 0.4, head * 0.3, head * 0.4), BLACK * 4, part="detail")
    eye = head * m.p(7, 0.22, 0.34)
    for side in (-1, 1):
        m.add(
            "ellipsoid",
            center + (side * head * 0.45, head * 0.2, head * 0.92),
            (eye, eye, eye * 0.6),
            np.array([1.0, 0.92, 0.35]),
            part="face",
        )
        m.add(
            "ellipsoid",
            center + (side * head * 0.45, head * 0.2, head * 0.92 + eye * 0.5),
            (eye * 0.4,) * 3,
            BLACK,
            part="face",
        )
    m.add("box", center + (0, -head * 0.4, head * 0.95), (head * 0.5, head * 0.1, 0.02), BLACK, part="face")
    if m.who.shape[6] > 0.3:
        m.add("cylinder", center + (0, head * 1.2, 0), (0.015, head * 0.4, 0.015), BLACK * 4, part="detail")
        m.add("ellipsoid", center + (0, head * 1.6, 0), (0.04, 0.04, 0.04), m.third, part="detail")
    for side, angle, spread in ((-1, m.pose.left_arm, m.pose.left_spread), (1, m.pose.right_arm, m.pose.right_spread)):
        hand = m.limb(
            (side * (wide + 0.03), middle + tall * 0.7, 0),
            _swing(angle, side, spread * 0.6),
            m.p(8, 0.2, 0.3),
            0.045,
            kind="cylinder",
        )
        m.add("ellipsoid", hand, (0.06, 0.06, 0.06), m.third, part="limb")
        if side == 1:
            m.anchor("hand", hand, (0.06, 0.06, 0.06))
    for side, angle in ((-1, m.pose.left_leg), (1, m.pose.right_leg)):
        foot = m.limb((side * wide * 0.5, low + 0.02, 0), _swing(angle, side, 0.02), leg, 0.06, kind="cylinder")
        m.add("box", foot + (0, 0.015, 0.04), (0.075, 0.04, 0.11), m.third, part="limb")
    m.mark((0, middle, 0), (wide, tall, wide * 0.72), base=0.05)
    m.anchor("head_top", center + (0, head * 0.85, 0), (head * 0.9, head, head * 0.9))
    m.anchor("eyes", center + (0, head * 0.2, head * 1.12), (head * 0.8, head * 0.32, head * 0.3))
    m.anchor("neck", (0, middle + tall * 0.98, 0), (wide * 0.95, 0.05, wide * 0.75))
    m.anchor("back", (0, middle, -wide * 0.75), (wide, tall, wide * 0.3))
    m.anchor("top", center + (0, head, 0), (head, 0.02, head))


def _gnome(m: _Maker) -> None:
    wide, tall = m.p(0, 0.18, 0.26), m.p(1, 0.18, 0.24)
    head = m.p(2, 0.13, 0.17)
    low = 0.05 if m.pose.sitting else m.p(3, 0.08, 0.14)
    middle = low + tall
    skin = np.array([0.93, 0.74, 0.60]) - 0.12 * m.who.shape[4]
    m.add("cone", (0, middle, 0), (wide, tall, wide), taper=0.6, pattern=True)
    m.add("cylinder", (0, middle - tall * 0.15, 0), (wide * 0.9, 0.03, wide * 0.9), BLACK * 3, part="detail")
    center = np.array([0, middle + tall + head * 0.6, 0.0])
    m.add("ellipsoid", center, (head, head, head), skin, part="head")
    m.add(
        "ellipsoid",
        center + (0, -head * 0.55, head * 0.45),
        (head * 0.85, head * m.p(5, 0.6, 1.0), head * 0.6),
        WHITE * m.p(6, 0.6, 1.0),
        part="face",
    )
    m.add("ellipsoid", center + (0, 0, head * 1.0), (head * 0.25,) * 3, skin * np.array([1.0, 0.8, 0.8]), part="face")
    m.eyes(center[1] + 0.3 * head, head * 0.85, head * 0.38, head * 0.15)
    m.add(
        "cone",
        center + (0, head * 0.5 + m.p(11, 0.16, 0.28), -0.02),
        (head * 1.05, m.p(11, 0.16, 0.28), head * 1.05),
        m.second,
        part="detail",
        taper=0.05,
    )
    for side, angle, spread in ((-1, m.pose.left_arm, m.pose.left_spread), (1, m.pose.right_arm, m.pose.right_spread)):
        hand = m.limb(
            (side * wide * 0.62, middle + tall * 0.6, 0), _swing(angle, side, spread), 0.2, 0.06, pattern=True
        )
        m.add("ellipsoid", hand, (0.055,) * 3, skin, part="limb")
        if side == 1:
            m.anchor("hand", hand, (0.055,) * 3)
    for side, angle in ((-1, m.pose.left_leg), (1, m.pose.right_leg)):
        foot = m.limb((side * wide * 0.45, low + 0.03, 0), _swing(angle, side, 0.05), 0.09, 0.07)
        m.add("ellipsoid", foot + (0, 0.0, 0.05), (0.08, 0.05, 0.12), m.third, part="limb")
    m.mark((0, middle, 0), (wide * 0.85, tall, wide * 0.85), base=0.045)
    m.anchor("head_top", center + (0, head * 0.9, 0), (head, head, head))
    m.anchor("eyes", center + (0, 0.3 * head, head * 1.05), (head * 0.8, head * 0.3, head * 0.3))
    m.anchor("neck", (0, middle + tall * 0.95, 0), (wide * 0.65, 0.05, wide * 0.65))
    m.anchor("back", (0, middle + tall * 0.2, -wide * 0.8), (wide, tall, wide * 0.3))
    m.anchor("top", center + (0, head + 0.4, 0), (head * 0.3, 0.02, head * 0.3))


# -------------------------------------------------------------------------------------------------------------------- things


def _wheels(m: _Maker, places: Sequence[tuple[float, float]], radius: float, wide: float) -> None:
    for x, z in places:
        turned = about("z", math.pi / 2)
        m.add(
            "cylinder",
            (x, radius, z),
            (radius, wide, radius),
            BLACK * 2,
            part="wheel",
            rotation=turned,
            material="matte",
        )
        m.add(
            "cylinder",
            (x * 1.01, radius, z),
            (radius * 0.5, wide * 1.08, radius * 0.5),
            m.third,
            part="wheel",
            rotation=turned,
        )


def _thing_anchors(m: _Maker, top: Point, face: Point, wide: float, deep: float, waist: float) -> None:
    """Anchors of something without a head: a hat goes on top, glasses on the face, a scarf around the waist."""
    m.anchor("head_top", top, (wide * 0.5, 0.14, wide * 0.5))
    m.anchor("eyes", face, (wide * 0.55, 0.07, 0.06))
    m.anchor("neck", (0, waist, 0), (wide * 1.03, 0.05, deep * 1.03))
    m.anchor("back", (0, waist, -deep), (wide, 0.2, 0.05))
    m.anchor("hand", (wide * 1.1, waist, 0), (0.05, 0.05, 0.05))
    m.anchor("top", top, (wide * 0.7, 0.02, deep * 0.7))


def _car(m: _Maker) -> None:
    wide, long, low = m.p(0, 0.22, 0.3), m.p(1, 0.4, 0.52), m.p(2, 0.1, 0.16)
    wheel = m.p(3, 0.1, 0.15)
    y = wheel + low
    m.add("box", (0, y, 0), (wide, low, long), pattern=True)
    cabin = m.p(4, 0.1, 0.17)
    back = m.p(5, -0.15, 0.05)
    if m.who.shape[6] > 0.5:
        m.add("ellipsoid", (0, y + low, back), (wide * 0.86, cabin * 1.7, long * 0.55), m.second, part="head")
    else:
        m.add("box", (0, y + low + cabin, back), (wide * 0.88, cabin, long * 0.45), m.second, part="head")
        m.add(
            "box",
            (0, y + low + cabin, back),
            (wide * 0.9, cabin * 0.6, long * 0.38),
            np.array([0.55, 0.75, 0.85]),
            part="detail",
        )
    _wheels(m, [(s * wide, z * long * 0.62) for s in (-1, 1) for z in (-1, 1)], wheel, 0.05)
    for side in (-1, 1):
        m.add(
            "ellipsoid",
            (side * wide * 0.65, y + low * 0.2, long),
            (0.06, 0.06, 0.03),
            np.array([1.0, 0.95, 0.6]),
            part="face",
        )
        m.add(
            "ellipsoid",
            (side * wide * 0.7, y + low * 0.2, -long),
            (0.05, 0.04, 0.02),
            np.array([0.8, 0.1, 0.1]),
            part="detail",
        )
    m.add("box", (0, y - low * 0.55, long), (wide * 0.95, 0.035, 0.03), m.third, part="detail")
    m.mark((0, y, 0), (wide, low, long), base=0.07)
    roof = y + low + cabin * (1.65 if m.who.shape[6] > 0.5 else 2.0)
    _thing_anchors(m, (0, roof, back), (0, y + low * 0.45, long + 0.05), wide, long, y + low * 0.5)


def _truck(m: _Maker) -> None:
    wide, long = m.p(0, 0.22, 0.28), m.p(1, 0.5, 0.62)
    wheel, high = m.p(3, 0.1, 0.14), m.p(2, 0.2, 0.3)
    cab = m.p(4, 0.15, 0.2)
    m.add("box", (0, wheel + 0.06, 0), (wide * 0.9, 0.05, long), BLACK * 4)
    m.add("box", (0, wheel + 0.1 + high, -cab), (wide, high, long - cab), pattern=True)
    m.add(
        "box", (0, wheel + 0.1 + high * 0.75, long - cab + 0.02), (wide * 0.95, high * 0.75, cab), m.second, part="head"
    )
    m.add(
        "box",
        (0, wheel + 0.1 + high * 1.1, long + 0.01),
        (wide * 0.8, high * 0.28, 0.03),
        np.array([0.55, 0.75, 0.85]),
        part="detail",
    )
    for side in (-1, 1):
        m.add(
            "ellipsoid",
            (side * wide * 0.65, wheel + 0.18, long + 0.03),
            (0.05, 0.05, 0.03),
            np.array([1.0, 0.95, 0.6]),
            part="face",
        )
    _wheels(m, [(s * wide, z) for s in (-1, 1) for z in (-long * 0.65, -long * 0.1, long * 0.7)], wheel, 0.05)
    m.mark((0, wheel + 0.1 + high, -cab), (wide, high, long - cab), base=0.08)
    _thing_anchors(
        m,
        (0, wheel + 0.1 + 2 * high, -cab),
        (0, wheel + 0.1 + high * 0.8, long + 0.06),
        wide,
        long,
        wheel + 0.1 + high * 0.8,
    )


def _plane(m: _Maker) -> None:
    long, fat = m.p(0, 0.42, 0.55), m.p(1, 0.1, 0.15)
    span, y = m.p(2, 0.4, 0.6), 0.35
    m.add("ellipsoid", (0, y, 0), (fat, fat, long), pattern=True)
    m.add("box", (0, y + m.p(3, -0.05, 0.08), 0.08), (span, 0.02, m.p(4, 0.09, 0.14)), m.second, part="limb")
    m.add("box", (0, y + 0.03, -long * 0.85), (span * 0.4, 0.015, 0.06), m.second, part="limb")
    m.add("box", (0, y + 0.14, -long * 0.85), (0.015, 0.12, 0.07), m.third, part="tail")
    m.add(
        "ellipsoid",
        (0, y + fat * 0.7, long * 0.25),
        (fat * 0.6, fat * 0.6, long * 0.22),
        np.array([0.55, 0.75, 0.88]),
        part="head",
    )
    m.add("cone", (0, y, long), (0.05, 0.06, 0.05), m.third, part="detail", rotation=about("x", math.pi / 2))
    m.add(
        "box",
        (0, y, long + 0.03),
        (0.2, 0.022, 0.012),
        BLACK * 4,
        part="detail",
        rotation=about("z", 0.5 + m.who.shape[5]),
    )
    _wheels(m, [(-fat, 0.15), (fat, 0.15)], 0.07, 0.03)
    for side in (-1, 1):
        m.add("cylinder", (side * fat, 0.18, 0.15), (0.015, 0.12, 0.015), BLACK * 4, part="detail")
    m.mark((0, y, 0), (fat, fat, long * 0.8), base=0.055)
    _thing_anchors(m, (0, y + fat * 1.2, long * 0.2), (0, y + 0.03, long + 0.06), fat * 1.4, fat, y)


def _boat(m: _Maker) -> None:
    wide, long, deep = m.p(0, 0.19, 0.27), m.p(1, 0.42, 0.56), m.p(2, 0.12, 0.18)
    m.add("ellipsoid", (0, deep * 1.1, 0), (wide, deep * 1.25, long), pattern=True)
    m.add("box", (0, deep * 1.75, 0), (wide * 0.8, deep * 0.22, long * 0.72), m.third, part="detail")
    mast = m.p(3, 0.32, 0.5)
    if m.who.shape[4] > 0.4:
        m.add("cylinder", (0, deep * 1.9 + mast, 0), (0.022, mast, 0.022), np.array([0.45, 0.3, 0.16]), part="limb")
        m.add(
            "cone",
            (0, deep * 2.2 + mast * 0.95, -0.02),
            (0.015, mast * 0.8, long * m.p(5, 0.42, 0.6)),
            m.second,
            part="head",
            taper=0.05,
        )
        top = deep * 1.9 + 2 * mast
    else:
        m.add("box", (0, deep * 2.3, -long * 0.15), (wide * 0.6, deep * 0.6, long * 0.35), m.second, part="head")
        m.add("cylinder", (0, deep * 3.4, -long * 0.2), (0.07, deep * 0.7, 0.07), m.third, part="detail")
        for side in (-1, 1):
            m.add(
                "ellipsoid",
                (side * wide * 0.6, deep * 2.4, 0),
                (0.02, 0.05, 0.05),
                np.array([0.6, 0.8, 0.9]),
                part="detail",
            )
        top = deep * 4.1
    m.mark((0, deep * 1.1, 0), (wide, deep * 1.2, long), base=0.06)
    _thing_anchors(
        m,
        (0, top, -long * 0.15 if m.who.shape[4] <= 0.4 else 0),
        (0, deep * 1.6, long * 0.92),
        wide * 0.8,
        long * 0.9,
        deep * 1.6,
    )


def _teapot(m: _Maker) -> None:
    wide, tall = m.p(0, 0.26, 0.36), m.p(1, 0.2, 0.3)
    m.add("ellipsoid", (0, tall, 0), (wide, tall, wide), pattern=True)
    m.add("cylinder", (0, 0.02, 0), (wide * 0.6, 0.03, wide * 0.6), m.third, part="detail")
    m.add("ellipsoid", (0, tall * 1.88, 0), (wide * 0.5, tall * 0.2, wide * 0.5), m.second, part="head")
    m.add("ellipsoid", (0, tall * 2.1, 0), (0.05, 0.05, 0.05), m.third, part="detail")
    spout = np.array([wide * 0.75, tall * 0.85, 0])
    tip = np.array([wide * m.p(2, 1.35, 1.65), tall * m.p(3, 1.5, 2.0), 0])
    for k in range(6):
        share = k / 5
        r = 0.085 * (1 - share) + 0.04 * share
        m.add("ellipsoid", spout + (tip - spout) * np.array([share, share**1.5, 0]), (r, r, r), m.second, part="limb")
    for k in range(7):
        angle = math.pi * (0.5 + k / 6)
        at = (-wide * 0.85 + 0.20 * math.cos(angle), tall * 1.05 + m.p(4, 0.14, 0.2) * math.sin(angle), 0)
        m.add("ellipsoid", at, (0.042, 0.042, 0.042), m.second, part="limb")
    m.mark((0, tall, 0), (wide, tall, wide), base=0.06)
    _thing_anchors(m, (0, tall * 2.05, 0), (0, tall * 1.25, wide * 1.02), wide, wide, tall * 1.55)


def _mug(m: _Maker) -> None:
    wide, tall = m.p(0, 0.2, 0.3), m.p(1, 0.24, 0.36)
    m.add(
        "cone" if m.who.shape[2] > 0.5 else "cylinder",
        (0, tall, 0),
        (wide, tall, wide),
        taper=m.p(3, 0.75, 0.95),
        pattern=True,
    )
    rim = wide * (m.p(3, 0.75, 0.95) if m.who.shape[2] > 0.5 else 1.0)
    m.add("cylinder", (0, 2 * tall, 0), (rim * 0.88, 0.01, rim * 0.88), np.array([0.28, 0.16, 0.09]), part="detail")
    m.add("cylinder", (0, 0.03, 0), (wide * 1.03, 0.03, wide * 1.03), m.second, part="detail")
    for k in range(9):
        angle = math.pi * (k / 8 - 0.5)
        at = (wide * 0.95 + m.p(4, 0.12, 0.18) * math.cos(angle), tall + m.p(5, 0.12, 0.2) * math.sin(angle), 0)
        m.add("ellipsoid", at, (0.04, 0.04, 0.04), m.second, part="limb")
    m.mark((0, tall, 0), (wide * 0.98, tall * 0.8, wide * 0.98), base=0.06)
    _thing_anchors(m, (0, 2 * tall, 0), (0, tall * 1.3, wide * 1.03), wide, wide, tall * 1.6)


def _backpack(m: _Maker) -> None:
    wide, tall, deep = m.p(0, 0.22, 0.3), m.p(1, 0.28, 0.38), m.p(2, 0.12, 0.18)
    m.add("box", (0, tall * 0.85, 0), (wide, tall * 0.85, deep), pattern=True)
    m.add("ellipsoid", (0, tall * 1.68, 0), (wide, tall * m.p(3, 0.22, 0.36), deep), part="head", pattern=True)
    m.add("box", (0, tall * 0.55, deep + 0.03), (wide * m.p(4, 0.6, 0.8), tall * 0.38, 0.06), m.second, part="face")
    m.add("box", (0, tall * 0.84, deep + 0.05), (wide * m.p(4, 0.6, 0.8), 0.05, 0.06), m.third, part="detail")
    for side in (-1, 1):
        m.add("ellipsoid", (side * wide, tall * 0.5, 0), (0.07, tall * 0.36, deep * 0.8), m.second, part="limb")
        m.add("box", (side * wide * 0.55, tall, -deep - 0.02), (0.05, tall * 0.7, 0.03), m.third, part="detail")
    for k in range(5):
        angle = math.pi * k / 4
        m.add(
            "ellipsoid",
            (0.08 * math.cos(angle), tall * 2.0 + 0.07 * math.sin(angle) - 0.03, 0),
            (0.03, 0.03, 0.03),
            m.third,
            part="detail",
        )
    m.mark((0, tall * 0.95, 0), (wide, tall * 0.8, deep * 1.05), base=0.06)
    _thing_anchors(m, (0, tall * 1.95, 0), (0, tall * 1.4, deep + 0.06), wide, deep, tall * 1.22)


def _house(m: _Maker) -> None:
    wide, tall, deep = m.p(0, 0.26, 0.36), m.p(1, 0.2, 0.3), m.p(2, 0.22, 0.3)
    roof = m.p(3, 0.14, 0.26)
    m.add("box", (0, tall, 0), (wide, tall, deep), pattern=True)
    m.add(
        "cone",
        (0, 2 * tall + roof, 0),
        (wide * 1.55, roof, deep * 1.55),
        m.second,
        part="head",
        taper=m.p(4, 0.02, 0.3),
    )
    m.add("box", (wide * m.p(5, -0.4, 0.4), tall * 0.5, deep), (0.07, tall * 0.5, 0.02), m.third, part="face")
    for side in (-1, 1):
        m.add(
            "box", (side * wide * 0.6, tall * 1.35, deep), (0.06, 0.06, 0.02), np.array([0.7, 0.88, 0.96]), part="face"
        )
        m.add("box", (side * wide, tall * 1.2, 0), (0.02, 0.07, 0.07), np.array([0.7, 0.88, 0.96]), part="face")
    m.add("box", (wide * 0.6, 2 * tall + roof, -deep * 0.3), (0.05, roof, 0.05), m.third, part="detail")
    m.mark((0, tall, 0), (wide, tall, deep), base=0.06)
    _thing_anchors(m, (0, 2 * tall + 2 * roof * 0.93, 0), (0, tall * 1.4, deep + 0.05), wide, deep, tall * 1.8)


def _plant(m: _Maker) -> None:
    pot, tall = m.p(0, 0.16, 0.24), m.p(1, 0.14, 0.2)
    m.add("cone", (0, tall, 0), (pot * 0.7, tall, pot * 0.7), part="body", taper=1.0, pattern=True)
    m.add("cylinder", (0, 2 * tall, 0), (pot * 0.82, 0.04, pot * 0.82), m.second, part="detail")
    leaf = np.array([0.14 + 0.1 * m.who.shape[2], 0.42 + 0.25 * m.who.shape[3], 0.16])
    count = int(m.p(4, 4, 8))
    for k in range(count):
        angle, lean = 2 * math.pi * k / count, m.p(5, 0.25, 0.9)
        way = np.array([math.sin(angle) * lean, 1.0, math.cos(angle) * lean])
        way /= np.linalg.norm(way)
        m.add(
            "ellipsoid",
            np.array([0, 2 * tall, 0]) + way * 0.22,
            (0.05, m.p(6, 0.2, 0.28), 0.05),
            leaf,
            part="limb",
            rotation=along(way),
        )
    for k in range(int(m.p(7, 0, 4))):
        angle = 2.1 * k + 6.28 * m.who.shape[8]
        at = (0.15 * math.sin(angle), 2 * tall + 0.42 + 0.05 * k, 0.15 * math.cos(angle))
        m.add("ellipsoid", at, (0.08, 0.06, 0.08), m.third, part="head")
    m.mark((0, tall, 0), (pot * 0.7, tall * 0.8, pot * 0.7), base=0.05)
    _thing_anchors(m, (0, 2 * tall + 0.45, 0), (0, tall * 1.2, pot * 0.8), pot * 0.8, pot * 0.8, tall * 1.4)


def _chair(m: _Maker) -> None:
    wide, leg, back = m.p(0, 0.2, 0.28), m.p(1, 0.2, 0.3), m.p(2, 0.25, 0.38)
    m.add("box", (0, 2 * leg, 0), (wide, m.p(3, 0.03, 0.07), wide), pattern=True)
    m.add("box", (0, 2 * leg + back, -wide * 0.9), (wide, back, 0.04), part="head", pattern=True)
    for x, z in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        m.add(
            "cylinder", (x * wide * 0.85, leg, z * wide * 0.85), (m.p(4, 0.02, 0.045), leg, 0.03), m.second, part="limb"
        )
    if m.who.shape[5] > 0.4:
        for side in (-1, 1):
            m.add("box", (side * wide, 2 * leg + 0.2, 0), (0.035, 0.035, wide * 0.9), m.third, part="limb")
            m.add("cylinder", (side * wide, 2 * leg + 0.1, wide * 0.8), (0.03, 0.1, 0.03), m.third, part="limb")
    m.add("ellipsoid", (0, 2 * leg + 0.07, 0.02), (wide * 0.8, m.p(6, 0.03, 0.07), wide * 0.8), m.second, part="detail")
    m.mark((0, 2 * leg + back, -wide * 0.85), (wide * 0.9, back * 0.8, 0.03), base=0.06)
    _thing_anchors(
        m, (0, 2 * leg + 2 * back, -wide * 0.9), (0, 2 * leg + back * 1.3, -wide * 0.82), wide, wide, 2 * leg + back
    )
    m.anchor("top", (0, 2 * leg + 0.08, 0), (wide, 0.02, wide))


def _lamp(m: _Maker) -> None:
    foot, pole, shade = m.p(0, 0.14, 0.22), m.p(1, 0.22, 0.32), m.p(2, 0.18, 0.28)
    m.add("cone", (0, 0.05, 0), (foot, 0.05, foot), m.second, part="limb", taper=0.6)
    m.add("cylinder", (0, pole, 0), (m.p(3, 0.02, 0.05), pole, 0.03), m.third, part="limb")
    m.add(
        "cone",
        (0, 2 * pole + shade * 0.5, 0),
        (shade, shade * m.p(4, 0.6, 0.9), shade),
        part="body",
        taper=m.p(5, 0.4, 0.85),
        pattern=True,
    )
    m.add("ellipsoid", (0, pole * m.p(6, 0.6, 1.4), 0), (0.07, 0.07, 0.07), m.third, part="detail")
    m.mark((0, 2 * pole + shade * 0.5, 0), (shade * 0.85, shade * 0.6, shade * 0.85), base=0.05)
    _thing_anchors(
        m,
        (0, 2 * pole + shade * 1.2, 0),
        (0, 2 * pole + shade * 0.5, shade * 0.98),
        shade,
        shade,
        2 * pole + shade * 0.1,
    )


_CLASSES: dict[str, Callable[[_Maker], None]] = {
    "cat": _cat, "dog": _dog, "rabbit": _rabbit, "bear": _bear, "elephant": _elephant, "penguin": _penguin,
    "robot": _robot, "gnome": _gnome, "car": _car, "truck": _truck, "plane": _plane, "boat": _boat, "teapot": _teapot,
    "mug": _mug, "backpack": _backpack, "house": _house, "plant": _plant, "chair": _chair, "lamp": _lamp,
}  # fmt: skip
