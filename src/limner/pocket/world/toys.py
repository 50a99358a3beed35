"""Toys: from an individual's identity to solids.

A class reads its proportions from the individual's shape vector; the pose comes from the action and the time. Toys are
built in their own coordinates (feet at y = 0, about one unit tall, facing +z) and then placed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .accessories import wear
from .actions import pose
from .beings import BEINGS
from .graph import NUM_SHAPE, Individual, Toy
from .making import PARTS, Anchor, Maker
from .motions import around, motion
from .shapes import IDENTITY, Solid, about, chain, moved, placed
from .states import affected
from .things import THINGS
from .vocabulary import CLASSES, COLOURS, JOINTED, PATTERNS

_CLASSES = BEINGS | THINGS


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
    maker = Maker(toy.individual, pose(toy.action if toy.individual.kind in JOINTED else "standing", time))
    _CLASSES[toy.individual.kind](maker)
    solids = affected([_finished(solid, toy, maker) for solid in maker.solids], toy.state, toy.individual.seed)
    for name, colour in zip(toy.accessories, toy.accessory_colours, strict=True):
        solids += wear(name, np.array(COLOURS[colour]), maker.anchors)
    stance = chain(placed(at=toy.place, turn=toy.turn, scale=toy.scale), _carried(toy, maker, time))
    return Built(moved(solids, stance), {name: _moved_anchor(a, stance) for name, a in maker.anchors.items()})


def _carried(toy: Toy, maker: Maker, time: float) -> np.ndarray:
    """[3, 4]: the whole toy as its action, its tilt and its motion move it."""
    height = float(maker.anchors["top"].at[1])
    tilted = around(about("z", toy.tilt), height) if toy.tilt else IDENTITY
    return chain(motion(toy.motion, time, height), chain(tilted, maker.pose.whole))


def _finished(solid: Solid, toy: Toy, maker: Maker) -> Solid:
    material = toy.material if solid.material == "plastic" else solid.material
    marks = maker.marks if solid.part in (PARTS.index("body"), PARTS.index("head")) else None
    return replace(solid, material=material, marks=marks)


def _moved_anchor(anchor: Anchor, transform: np.ndarray) -> Anchor:
    scale = float(np.linalg.norm(transform[:, 0]))
    rotation = transform[:, :3] / scale
    return Anchor(transform[:, :3] @ anchor.at + transform[:, 3], anchor.size * scale, rotation @ anchor.rotation)
