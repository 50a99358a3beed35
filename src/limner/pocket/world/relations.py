"""How two toys stand to each other: the first is placed relative to the second."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .graph import Toy
from .toys import build


def place(relation: str, first: Toy, second: Toy) -> tuple[Toy, Toy]:
    """Both toys placed so that the relation is true of the first to the second, around the middle of the picture.

    "on": the first stands on the second. "under": the second floats above the first. "inside": the first is small and
    half sunk into the top of the second. "behind": farther from a front camera, higher over its shoulder. "next to": to
    the left. "holding": the second is small, in the first's hand.
    """
    match relation:
        case "on":
            small = replace(first, place=(0.0, _height(second, 0.8), 0.0), scale=0.62)
            return small, replace(second, place=(0.0, 0.0, 0.0), scale=0.8)
        case "under":
            return replace(first, place=(0.0, 0.0, 0.0), scale=0.7), replace(
                second, place=(0.0, _height(first, 0.7) + 0.05, 0.0), scale=0.7
            )
        case "inside":
            sunk = replace(first, place=(0.0, _height(second, 1.0) * 0.62, 0.0), scale=0.55)
            return sunk, replace(second, place=(0.0, 0.0, 0.0))
        case "behind":
            return replace(first, place=(0.28, 0.0, -0.9)), replace(second, place=(-0.1, 0.0, 0.25), scale=0.75)
        case "holding":
            hand = build(replace(first, place=(0.0, 0.0, 0.0), scale=1.0)).anchors["hand"].at
            return replace(first, place=(0.0, 0.0, 0.0)), replace(
                second, place=tuple(hand + np.array([0.0, -0.12, 0.12])), scale=0.38
            )
        case _:
            return replace(first, place=(-0.45, 0.0, 0.0), scale=0.85), replace(
                second, place=(0.45, 0.0, 0.0), scale=0.85
            )


def _height(toy: Toy, scale: float) -> float:
    """How high the toy's top is at a scale, without what it wears."""
    bare = replace(toy, place=(0.0, 0.0, 0.0), scale=scale, accessories=(), accessory_colours=())
    return float(build(bare).anchors["top"].at[1])
