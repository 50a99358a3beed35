"""How toys stand to each other: the first is placed relative to the second."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .graph import Toy
from .toys import build
from .vocabulary import JOINTED

SIDEWAYS = ("facing", "chasing", "back to back with")
"""Relations that turn their toys to the sides, so that the camera always stands in front of both."""


def place(relation: str, first: Toy, second: Toy) -> tuple[Toy, Toy]:
    """Both toys placed so that the relation is true of the first to the second, around the middle of the picture.

    "on": the first stands on the second. "under": the second floats above the first. "inside": the first is half sunk
    into the top of the second. "behind", "in front of": farther from or nearer to a front camera, to one side. "next
    to": to the left. "holding": the second is in the first's hand. "facing": each looks at the other. "chasing": both
    run to the right, the first behind. "back to back with": each looks away from the other. "upside down on": on its
    head on top of the second. "towering over": the first is nearly three times as tall.
    """
    first, second = _evened(first), _evened(second)
    match relation:
        case "on":
            return _stacked(first, second)
        case "upside down on":
            return _stacked(replace(first, tilt=math.pi), second)
        case "under":
            return first, replace(second, place=(0.0, _height(first) + 0.05, 0.0))
        case "inside":
            return _scaled(first, 0.85, place=(0.0, _height(second) * 0.72, 0.0)), second
        case "behind":
            return _scaled(first, 1.0, place=(0.42, 0.0, -0.8)), _scaled(second, 0.75, place=(-0.2, 0.0, 0.25))
        case "in front of":
            return _scaled(first, 0.75, place=(-0.2, 0.0, 0.25)), _scaled(second, 1.0, place=(0.42, 0.0, -0.8))
        case "holding":
            hand = build(first).anchors["hand"].at
            return first, _scaled(second, 0.55, place=tuple(hand + np.array([0.22, -0.15, 0.2])))
        case "facing":
            return _beside(first, second, turns=(math.pi / 2, -math.pi / 2))
        case "chasing":
            return _beside(_running(first), _running(second), turns=(math.pi / 2, math.pi / 2))
        case "back to back with":
            return _beside(first, second, turns=(-math.pi / 2, math.pi / 2))
        case "towering over":
            return _beside(_scaled(first, 1.5), _scaled(second, 0.72))
        case _:
            return _beside(first, second)


def in_a_row(toys: Sequence[Toy]) -> tuple[Toy, ...]:
    """Toys side by side around the middle, the first one at the left of the picture; three stand closer, the middle one
    back."""
    toys = [_evened(toy) if toy.scale == 1.0 else toy for toy in toys]
    closer = 0.8 if len(toys) > 2 else 1.0
    widths = [closer * _width(toy) for toy in toys]
    left, placed_toys = -sum(widths) / 2, []
    for k, (toy, wide) in enumerate(zip(toys, widths, strict=True)):
        placed_toys.append(replace(toy, place=(left + wide / 2, 0.0, -0.3 if len(toys) > 2 and k == 1 else 0.0)))
        left += wide
    return tuple(placed_toys)


def _beside(first: Toy, second: Toy, *, turns: tuple[float, float] = (0.0, 0.0)) -> tuple[Toy, Toy]:
    left, right = in_a_row((replace(first, turn=turns[0]), replace(second, turn=turns[1])))
    return left, right


def _stacked(first: Toy, second: Toy) -> tuple[Toy, Toy]:
    return _scaled(first, 0.9, place=(0.0, _height(second), 0.0)), second


def _height(toy: Toy) -> float:
    """How high the toy's top is, without what it wears."""
    return float(build(_bare(toy)).anchors["top"].at[1])


def _width(toy: Toy) -> float:
    """How wide the toy is, turned as it is, with a little room."""
    reach = [
        (abs(s.center[0]) + np.abs(s.rotation[0]) @ s.size) for s in build(replace(toy, place=(0.0, 0.0, 0.0))).solids
    ]
    return float(np.clip(2 * max(reach), 0.5, 1.5)) * 0.92


def _evened(toy: Toy) -> Toy:
    """The toy at the middle; a low one (a car, a boat) larger, so that it is seen as well as what is beside it."""
    middle = replace(toy, place=(0.0, 0.0, 0.0), scale=1.0)
    return replace(middle, scale=float(np.clip(0.95 / _height(middle), 1.0, 1.45)))


def _scaled(toy: Toy, factor: float, *, place: tuple[float, ...] = (0.0, 0.0, 0.0)) -> Toy:
    return replace(toy, scale=toy.scale * factor, place=(place[0], place[1], place[2]))


def _running(toy: Toy) -> Toy:
    return replace(toy, action="running") if toy.individual.kind in JOINTED else toy


def _bare(toy: Toy) -> Toy:
    return replace(toy, accessories=(), accessory_colours=(), action="standing", tilt=0.0)
