"""Bodies of half-length figures: shoulders, trunk and arms that do gestures, in head units below a head at the
origin."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .faces import Collector, Head
from .graph import Face
from .shapes import about, along

FLOOR = -3.3  # where a figure ends, in head units


@dataclass(frozen=True)
class Arm:
    """Where an arm is; the hand is one of open, fist, point."""

    shoulder: np.ndarray  # [3]
    elbow: np.ndarray  # [3]
    wrist: np.ndarray  # [3]
    hand: str = "fist"


class Body(Collector):
    """Measures of one body, and the solids made of it so far."""

    def __init__(self, face: Face, head: Head, *, time: float = 0.0) -> None:
        super().__init__(face)
        self.grown = {"child": 0.80, "adult": 1.0, "old": 0.96}[self.person.age]
        k = self.grown
        self.shoulder = self.p(36, 0.74, 0.92) * k
        self.deep = 0.34 * k
        self.neck_wide = head.jaw_wide * 0.36 + 0.06
        self.chin = -0.46 * head.tall - head.jaw_tall
        self.chin_ahead = 0.1 * head.deep + 0.5 * head.jaw_deep
        self.top = self.chin - 0.15 * k  # base of the neck
        self.waist = self.top - 1.85 * k
        self.radius = self.p(38, 0.14, 0.18) * k
        self.side = _leading_side(face)
        self.arms = {side: _arm(self, side, time) for side in (-1, 1)}

    def limb(
        self, part: str, start: ArrayLike, end: ArrayLike, radius: float, colour: ArrayLike, **more: object
    ) -> None:
        """A round bar from start to end with balls' room left at both; patterns on it are in its own coordinates."""
        a, b = np.asarray(start, dtype=float), np.asarray(end, dtype=float)
        rotation = along(b - a)
        long = float(np.linalg.norm(b - a)) / 2
        frame = np.concatenate([rotation.T, -(rotation.T @ ((a + b) / 2))[:, None]], axis=1) * 0.7
        at, size = (a + b) / 2, (radius, long, radius)
        self.add(part, "cylinder", at, size, colour, rotation=rotation, **{"frame": frame, **more})  # type: ignore[arg-type]


def _leading_side(face: Face) -> int:
    """Which arm does a gesture: -1 is the viewer's left. With two people, the outer arm; alone, the person's habit."""
    if face.place[0]:
        return -1 if face.place[0] < 0 else 1
    return -1 if face.person.seed % 2 else 1


def _arm(body: Body, side: int, time: float) -> Arm:
    k = body.grown
    joint = np.array([side * (body.shoulder - 0.10 * k), body.top - 0.30 * k, 0.0])
    swing = math.sin(2 * math.pi * time)

    def off(x: float, y: float, z: float) -> np.ndarray:
        """From the shoulder: x outwards."""
        return joint + k * np.array([side * x, y, z])

    leads = side == body.side
    match body.face.action:
        case "waving" if leads:
            return Arm(joint, off(0.40, -0.64, 0.30), off(0.36 + 0.14 * swing, 0.20, 0.48), "open")
        case "cheering":
            return Arm(joint, off(0.46, 0.22 + 0.06 * swing, 0.12), off(0.32, 0.88 + 0.10 * swing, 0.26), "open")
        case "pointing" if leads:
            return Arm(joint, off(0.10, -0.74, 0.24), off(0.20, -0.34 + 0.05 * swing, 0.68), "point")
        case "thinking" if leads:
            chin = np.array([side * 0.13, body.chin - 0.06, body.chin_ahead + 0.16])
            return Arm(joint, off(-0.16, -0.74, 0.62), chin - (0, 0.10, 0), "fist")
        case "thinking":
            under = np.array([-side * 0.34 * k, body.top - 1.12 * k, 0.60 * k])
            return Arm(joint, off(0.06, -0.80, 0.20), under, "fist")
        case "arms crossed":
            across = np.array(
                [-side * 0.40 * k, body.top - (0.80 if leads else 0.98) * k, (0.58 if leads else 0.46) * k]
            )
            return Arm(joint, off(0.10, -0.70, 0.30), across, "fist")
    return Arm(joint, off(0.10, -0.86, 0.02), off(0.08, -1.60, 0.18), "fist")


def add_neck(body: Body) -> None:
    middle = (body.chin + 0.16 + body.top - 0.1) / 2
    half = (body.chin + 0.16 - body.top + 0.1) / 2
    size = (body.neck_wide, half, body.neck_wide)
    body.add("neck", "cylinder", (0, middle, -0.06), size, body.person.skin * 0.88)


def add_hand(body: Body, arm: Arm) -> None:
    """A hand beyond the wrist, its palm to the viewer."""
    skin, k = body.person.skin, body.grown
    way = (arm.wrist - arm.elbow) / np.linalg.norm(arm.wrist - arm.elbow)
    if arm.hand == "fist":
        body.add("hand", "ellipsoid", arm.wrist + 0.08 * k * way, np.array([0.14, 0.15, 0.13]) * k, skin)
        return
    if arm.hand == "point":
        body.add("hand", "ellipsoid", arm.wrist + 0.08 * k * way, np.array([0.13, 0.14, 0.12]) * k, skin)
        ahead = np.array([np.sign(arm.wrist[0]), 0.35, 0.1])
        tip = arm.wrist + 0.12 * k * way + 0.44 * k * ahead / np.linalg.norm(ahead)
        body.stroke("hand", [arm.wrist + 0.1 * k * way, tip], 0.062 * k, skin)
        return
    _add_open_hand(body, arm.wrist, way)


def _add_open_hand(body: Body, wrist: np.ndarray, way: np.ndarray) -> None:
    skin, k = body.person.skin, body.grown
    lean = math.atan2(way[0], way[1])
    turn = about("z", -lean)
    palm = wrist + turn @ np.array([0, 0.15 * k, 0])
    body.add("hand", "ellipsoid", palm, np.array([0.145, 0.16, 0.06]) * k, skin, rotation=turn)
    inner = -1 if wrist[0] > 0 else 1  # thumbs are towards the head
    for angle in (-0.42, -0.14, 0.14, 0.42):
        out = turn @ np.array([math.sin(angle), math.cos(angle), 0.0])
        body.stroke("hand", [palm + 0.08 * k * out, palm + 0.29 * k * out], 0.045 * k, skin)
    thumb = turn @ np.array([inner * 0.9, 0.35, 0.0])
    body.stroke("hand", [palm + 0.06 * k * thumb, palm + 0.24 * k * thumb], 0.045 * k, skin)
