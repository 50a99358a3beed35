"""Actions of jointed toys: a pose as a function of the action and the time."""

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
            lift = 0.42 + 0.18 * math.cos(beat)
            return Pose(2.5, 2.5, 1.1, 1.1, 0.9, -0.7, whole=placed(at=(0, lift, 0)))
        case "waving":
            return Pose(right_arm=2.9, right_spread=0.9 + 0.45 * swing)
        case "lying":
            return Pose(0.6, 0.6, 0.7, 0.7, 0.25, 0.25, whole=_lying(0.02 * swing))
        case "walking":
            stride = 0.95 * _firm(math.cos(beat))
            return Pose(-stride, stride, 0.3, 0.3, stride, -stride, whole=placed(at=(0, 0.02 * abs(swing), 0)))
        case "running":
            stride = 1.35 * _firm(math.cos(beat))
            lean = np.concatenate([about("x", 0.42), [[0.0], [0.08 + 0.06 * abs(swing)], [-0.12]]], axis=1)
            return Pose(-1.3 * stride, 1.3 * stride, 0.35, 0.35, stride, -stride, whole=lean)
        case "cheering":
            return Pose(2.9, 2.9, 0.8 + 0.15 * swing, 0.8 - 0.15 * swing)
        case "bowing":
            bend = np.concatenate([about("x", 0.85 + 0.1 * swing), [[0.0], [0.06], [-0.3]]], axis=1)
            return Pose(-0.5, -0.5, 0.5, 0.5, -0.8, -0.8, whole=bend)
        case "dancing":
            sway = np.concatenate([about("z", 0.3 * _firm(swing)), np.zeros((3, 1))], axis=1)
            return Pose(2.8, 0.9, 1.0, 1.5, 1.1 * max(swing, 0.0), 1.1 * max(-swing, 0.0), whole=sway)
        case "handstand":
            upside = np.concatenate([about("z", math.pi), [[0.0], [1.08 + 0.02 * swing], [0.0]]], axis=1)
            return Pose(2.95, 2.95, 0.35, 0.35, 0.35 * swing, -0.35 * swing, whole=upside)
        case "cartwheel":
            turned = about("z", math.pi / 2 + beat)
            lift = np.array([0.0, 0.55, 0.0]) - turned @ np.array([0.0, 0.5, 0.0])
            whole = np.concatenate([turned, lift[:, None]], axis=1)
            return Pose(2.5, 2.5, 1.3, 1.3, 1.0, -1.0, whole=whole)
        case "flying":
            level = np.concatenate([about("z", -1.2), [[-0.5], [0.62 + 0.06 * swing], [0.0]]], axis=1)
            return Pose(3.0, 3.0, 0.1, 0.1, -0.2, 0.0, whole=level)
        case "arabesque":
            lean = np.concatenate([about("z", 0.6), [[0.2], [0.05], [0.0]]], axis=1)
            return Pose(1.5, 2.6, 1.6, 1.2, 0.0, -1.5 + 0.1 * swing, whole=lean)
        case _:
            return Pose(left_arm=0.25 + 0.03 * swing, right_arm=0.25 + 0.03 * swing)


def _firm(beat: float) -> float:
    """A beat that passes quickly through nothing, so that a stride reads at nearly any time."""
    return math.tanh(4 * beat)


def _lying(breath: float) -> np.ndarray:
    """On its side, seen from the front: the head to the left of the picture."""
    matrix = about("z", math.pi / 2)
    return np.concatenate([matrix, np.array([[0.5], [0.24 + breath], [0.0]])], axis=1)
