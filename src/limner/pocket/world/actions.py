"""What jointed toys do: a pose as a function of the action and the time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from .shapes import IDENTITY, about, placed


@dataclass(frozen=True)
class Pose:
    """Angles of limbs in radians, 0 hanging down, pi/2 forwards, pi up; `whole` moves the toy as one."""

    left_arm: float = 0.25
    right_arm: float = 0.25
    left_spread: float = 0.45
    right_spread: float = 0.45
    left_leg: float = 0.0
    right_leg: float = 0.0
    sitting: bool = False
    whole: np.ndarray = field(default_factory=lambda: IDENTITY)


def pose(action: str, time: float = 0.0) -> Pose:
    """The pose of an action at a time in cycles; `pose(a, 0) == pose(a, 1)`."""
    beat = 2 * math.pi * time
    swing = math.sin(beat)
    match action:
        case "sitting":
            return Pose(
                left_leg=1.45, right_leg=1.45, sitting=True, left_arm=0.5 + 0.05 * swing, right_arm=0.5 + 0.05 * swing
            )
        case "jumping":
            lift = 0.34 + 0.16 * math.cos(beat)
            return Pose(2.5, 2.5, 0.8, 0.8, 0.5, -0.3, whole=placed(at=(0, lift, 0)))
        case "waving":
            return Pose(right_arm=2.7, right_spread=0.75 + 0.35 * swing)
        case "lying":
            return Pose(0.6, 0.6, 0.7, 0.7, 0.25, 0.25, whole=_lying(0.02 * swing))
        case "walking":
            stride = 0.75 * math.cos(beat)
            return Pose(-stride, stride, 0.3, 0.3, stride, -stride, whole=placed(at=(0, 0.02 * abs(swing), 0)))
        case _:
            return Pose(left_arm=0.25 + 0.03 * swing, right_arm=0.25 + 0.03 * swing)


def _lying(breath: float) -> np.ndarray:
    """On its side, seen from the front: the head to the left of the picture."""
    matrix = about("z", math.pi / 2)
    return np.concatenate([matrix, np.array([[0.5], [0.24 + breath], [0.0]])], axis=1)
