"""How things and cameras move: transforms as functions of time, for clips.

Time is counted in cycles: a motion is where it began after one. Camera moves go one way and are done after one cycle.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from .graph import Camera
from .shapes import IDENTITY, about, chain, placed


def motion(name: str, time: float, height: float) -> np.ndarray:
    """[3, 4]: where a toy of this height is moved to at a time in cycles; in its own coordinates, before it is
    placed."""
    return IDENTITY if name == "still" else _MOTIONS[name](2 * math.pi * time, height)


def around(matrix: np.ndarray, height: float) -> np.ndarray:
    """[3, 4]: a rotation (or scaling) [3, 3] about the middle of a toy of this height."""
    pivot = np.array([0.0, height / 2, 0.0])
    return np.concatenate([matrix, (pivot - matrix @ pivot)[:, None]], axis=1)


def moved_camera(camera: Camera, move: str, time: float) -> Camera:
    """The camera after a part of its move: time 0 is its beginning, 1 its end."""
    share = min(max(time, 0.0), 1.0)
    if move == "still" or share == 0.0:
        return camera
    right = np.array([math.cos(camera.azimuth), 0.0, -math.sin(camera.azimuth)]) * camera.distance
    target = np.asarray(camera.target)
    match move:
        case "pan left":
            return replace(camera, target=tuple(target - 0.28 * share * right))
        case "pan right":
            return replace(camera, target=tuple(target + 0.28 * share * right))
        case "zoom in":
            return replace(camera, distance=camera.distance * (1 - 0.45 * share))
        case "zoom out":
            return replace(camera, distance=camera.distance * (1 + 0.9 * share))
        case "orbit left":
            return replace(camera, azimuth=camera.azimuth - 1.3 * share)
        case "orbit right":
            return replace(camera, azimuth=camera.azimuth + 1.3 * share)
        case "crane up":
            return replace(camera, elevation=camera.elevation + 0.75 * share)
        case _:
            raise ValueError(f"there is no camera move {move!r}")


def _spinning(beat: float, height: float) -> np.ndarray:
    return placed(turn=beat)


def _bouncing(beat: float, height: float) -> np.ndarray:
    return placed(at=(0, 0.45 * abs(math.sin(beat)), 0))


def _swinging(beat: float, height: float) -> np.ndarray:
    return np.concatenate([about("z", 0.5 * math.sin(beat)), np.zeros((3, 1))], axis=1)


def _sliding(beat: float, height: float) -> np.ndarray:
    return placed(at=(0.5 * math.sin(beat), 0, 0))


def _growing(beat: float, height: float) -> np.ndarray:
    return placed(scale=1.0 - 0.35 * math.cos(beat))


def _shaking(beat: float, height: float) -> np.ndarray:
    return placed(at=(0.07 * math.sin(5 * beat), 0.03 * abs(math.sin(5 * beat)), 0))


def _somersaulting(beat: float, height: float) -> np.ndarray:
    lift = np.array([[0.0], [0.25 - 0.25 * math.cos(beat)], [0.0]])
    return chain(np.concatenate([np.eye(3), lift], axis=1), around(about("z", -beat), height))


def _zigzagging(beat: float, height: float) -> np.ndarray:
    share = beat / (2 * math.pi) % 1.0
    corner = 4 * abs((3 * share) % 1.0 - 0.5) - 1
    return placed(at=(0.45 * corner, 0, 0.9 * abs(2 * share - 1) - 0.45))


_MOTIONS: dict[str, Callable[[float, float], np.ndarray]] = {
    "spinning": _spinning,
    "bouncing": _bouncing,
    "swinging": _swinging,
    "sliding": _sliding,
    "growing": _growing,
    "shaking": _shaking,
    "somersaulting": _somersaulting,
    "zigzagging": _zigzagging,
}
