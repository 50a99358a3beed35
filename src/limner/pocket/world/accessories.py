"""Accessories of toys: solids made to the measure of a toy's anchors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from .making import PARTS, Anchor
from .shapes import Solid, about, moved

ACCESSORY = PARTS.index("accessory")
_GOLD = np.array([0.98, 0.80, 0.18])
_DARK = np.array([0.05, 0.05, 0.06])


def wear(name: str, colour: np.ndarray, anchors: Mapping[str, Anchor]) -> list[Solid]:
    """The accessory on a toy with these anchors, in the toy's coordinates."""
    anchor_name, make = _ACCESSORIES[name]
    anchor = anchors[anchor_name]
    transform = np.concatenate([anchor.rotation, anchor.at[:, None]], axis=1)
    return moved(make(anchor.size, colour), transform)


def _solid(
    kind: str,
    at: Sequence[float],
    size: Sequence[float],
    colour: np.ndarray,
    *,
    rotation: np.ndarray | None = None,
    taper: float = 0.0,
    material: str = "plastic",
) -> Solid:
    return Solid(
        kind, np.array(at, float), np.eye(3) if rotation is None else rotation, np.array(size, float), np.asarray(colour, float),
        taper=taper, part=ACCESSORY, toy=0, material=material,
    )  # fmt: skip


def _hat(size: np.ndarray, colour: np.ndarray) -> list[Solid]:
    r = float(max(size[0], 0.1))
    brim = _solid("cylinder", (0, 0.01, 0), (r * 1.45, 0.02, r * 1.45), colour)
    band = _solid("cylinder", (0, r * 0.2, 0), (r * 0.96, r * 0.12, r * 0.96), colour * 0.35)
    return [brim, band, _solid("cylinder", (0, r * 0.65, 0), (r * 0.92, r * 0.65, r * 0.92), colour)]


def _crown(size: np.ndarray, colour: np.ndarray) -> list[Solid]:
    r = float(max(size[0], 0.1))
    ring = _solid("cone", (0, r * 0.2, 0), (r * 0.85, r * 0.22, r * 0.85), _GOLD, taper=1.0)
    points = []
    for k in range(6):
        angle = 2 * math.pi * (k + 0.5) / 6
        x, z = r * 0.8 * math.sin(angle), r * 0.8 * math.cos(angle)
        points.append(
            _solid("cone", (x, r * 0.62, z), (r * 0.26, r * 0.34, r * 0.16), _GOLD, rotation=about("y", angle))
        )
        points.append(_solid("ellipsoid", (x, r * 0.98, z), (r * 0.1,) * 3, colour))
    return [ring, *points]


def _sunglasses(size: np.ndarray, colour: np.ndarray) -> list[Solid]:
    wide, high = float(size[0]), float(size[0]) * 0.36
    lenses = [_solid("ellipsoid", (s * wide * 0.5, 0, 0), (wide * 0.42, high, 0.035), _DARK) for s in (-1, 1)]
    rims = [
        _solid("ellipsoid", (s * wide * 0.5, 0, -0.012), (wide * 0.5, high * 1.2, 0.03), colour * 0.6) for s in (-1, 1)
    ]
    return [*lenses, *rims, _solid("box", (0, high * 0.3, 0), (wide * 0.25, high * 0.16, 0.02), colour * 0.6)]


def _scarf(size: np.ndarray, colour: np.ndarray) -> list[Solid]:
    wide, deep = float(size[0]), float(size[2])
    ring = _solid("cylinder", (0, 0, 0), (wide * 1.14, 0.055, deep * 1.14), colour)
    roll = _solid("ellipsoid", (0, 0, 0), (wide * 1.2, 0.05, deep * 1.2), colour)
    tail = _solid("box", (wide * 0.45, -0.14, deep * 1.1), (0.06, 0.13, 0.025), colour, rotation=about("z", 0.12))
    fringe = _solid(
        "box", (wide * 0.48, -0.27, deep * 1.1), (0.06, 0.02, 0.027), colour * 0.55, rotation=about("z", 0.12)
    )
    return [ring, roll, tail, fringe]


def _bow_tie(size: np.ndarray, colour: np.ndarray) -> list[Solid]:
    z = float(size[2]) * 1.12
    wings = [
        _solid(
            "cone", (s * 0.085, -0.02, z), (0.075, 0.08, 0.035), colour, rotation=about("z", s * math.pi / 2), taper=0.2
        )
        for s in (-1, 1)
    ]
    return [*wings, _solid("ellipsoid", (0, -0.02, z + 0.01), (0.035, 0.035, 0.035), colour * 0.6)]


def _cape(size: np.ndarray, colour: np.ndarray) -> list[Solid]:
    wide, tall = float(size[0]), float(max(size[1], 0.18))
    sheet = _solid("cone", (0, -tall * 0.55, -0.03), (wide * 1.35, tall * 1.15, 0.05), colour, taper=0.6)
    return [sheet, _solid("ellipsoid", (0, tall * 0.6, 0.0), (wide * 0.9, 0.05, 0.08), colour * 0.7)]


def _straps(size: np.ndarray, colour: np.ndarray) -> list[Solid]:
    wide, tall = float(size[0]), float(max(size[1], 0.15))
    bag = _solid("box", (0, 0, -0.09), (wide * 0.7, tall * 0.7, 0.1), colour)
    flap = _solid("ellipsoid", (0, tall * 0.6, -0.09), (wide * 0.7, tall * 0.25, 0.11), colour * 0.75)
    pocket = _solid("box", (0, -tall * 0.2, -0.2), (wide * 0.45, tall * 0.3, 0.03), colour * 0.6)
    straps = [
        _solid("box", (s * wide * 0.95, 0, wide * 0.8), (0.03, tall * 0.75, wide * 0.9), colour * 0.75) for s in (-1, 1)
    ]
    return [bag, flap, pocket, *straps]


def _balloon(size: np.ndarray, colour: np.ndarray) -> list[Solid]:
    string = _solid("cylinder", (0.05, 0.32, 0), (0.008, 0.34, 0.008), np.array([0.85, 0.85, 0.85]))
    ball = _solid("ellipsoid", (0.05, 0.82, 0), (0.17, 0.21, 0.17), colour)
    return [string, ball, _solid("cone", (0.05, 0.61, 0), (0.04, 0.03, 0.04), colour, taper=0.3)]


_ACCESSORIES: dict[str, tuple[str, Callable[[np.ndarray, np.ndarray], list[Solid]]]] = {
    "hat": ("head_top", _hat),
    "sunglasses": ("eyes", _sunglasses),
    "scarf": ("neck", _scarf),
    "crown": ("head_top", _crown),
    "bow tie": ("neck", _bow_tie),
    "cape": ("back", _cape),
    "backpack straps": ("back", _straps),
    "balloon": ("hand", _balloon),
}
