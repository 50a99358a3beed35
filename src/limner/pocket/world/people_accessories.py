"""Accessories of people, made to the measure of a head or of shoulders."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from .accessories import wear
from .bodies import Body
from .faces import PARTS, Head
from .making import Anchor
from .shapes import about, moved, placed
from .vocabulary import COLOURS

ON_HEADS = ("hat", "crown", "sunglasses", "glasses", "headphones")
"""Accessories that turn with the head; the others stay with the shoulders."""
TOGETHER = (("hat", "crown", "headphones"), ("sunglasses", "glasses"), ("scarf", "necklace", "bow tie"), ("cape",))
"""Groups of accessories of which a person wears one at most."""


def adorn_head(head: Head) -> None:
    """Add the accessories that turn with the head."""
    accessories = dict(zip(head.face.accessories, head.face.accessory_colours, strict=True))
    if head.face.glasses and "glasses" not in accessories:
        accessories["glasses"] = "black"
    for name, colour in accessories.items():
        if name in ON_HEADS:
            _ON_HEAD[name](head, np.array(COLOURS[colour]))


def adorn_body(body: Body) -> None:
    """Add the accessories that stay with the shoulders."""
    for name, colour in zip(body.face.accessories, body.face.accessory_colours, strict=True):
        if name not in ON_HEADS:
            _ON_BODY[name](body, np.array(COLOURS[colour]))


def _borrowed(maker: Head | Body, name: str, colour: np.ndarray, anchor: Anchor, *, scale: float = 1.0) -> None:
    """An accessory of toys at an anchor of a person."""
    home = replace(anchor, at=np.zeros(3), size=anchor.size / scale)
    solids = wear(name, colour, {_ANCHOR[name]: home})
    where = placed(at=tuple(anchor.at), scale=scale)
    maker.solids += [replace(solid, part=PARTS.index(name)) for solid in moved(solids, where)]


_ANCHOR = {"hat": "head_top", "crown": "head_top", "sunglasses": "eyes", "bow tie": "neck"}


def _hat(h: Head, colour: np.ndarray) -> None:
    around = h.wide * (1.06 if h.person.hairstyle in ("bald", "mohawk") else 1.17)
    y = max(h.tall * 0.56, h.brow_y + 0.06 + max(h.mood.inner, h.mood.outer))
    _borrowed(h, "hat", colour, Anchor(np.array([0, y, -0.05]), np.array([around, 0.1, around])))


def _crown(h: Head, colour: np.ndarray) -> None:
    _borrowed(h, "crown", colour, Anchor(np.array([0, h.tall * 0.70, -0.02]), np.array([h.wide * 1.02, 0.1, h.wide])))


def _sunglasses(h: Head, colour: np.ndarray) -> None:
    at = np.array([0, h.eye[1], h.eye[2] + 0.075])
    _borrowed(h, "sunglasses", colour, Anchor(at, np.array([2.05 * h.eye[0], 0.1, 0.1])))
    _add_temples(h, "sunglasses", colour * 0.6, 2.0 * h.eye[0])


def _add_temples(h: Head, part: str, colour: np.ndarray, wide: float) -> None:
    for side in (-1, 1):
        start = (side * wide, h.eye[1] + 0.03, h.eye[2] + 0.03)
        h.stroke(part, [start, (side * h.wide * 1.06, h.eye[1] + 0.03, 0.0)], 0.022, colour)


def _glasses(h: Head, colour: np.ndarray) -> None:
    """Two rings, a bridge and temples."""
    wide, high = max(0.86 * float(h.eye[0]), 0.13), max(0.118, float(h.eye_size[1]) + 0.035)
    front = float(h.eye[2]) + 0.075
    for side in (-1, 1):
        angles = np.linspace(0, 2 * math.pi, 11)
        x, y = side * h.eye[0] + wide * np.cos(angles), h.eye[1] + high * np.sin(angles)
        h.stroke("glasses", np.stack([x, y, np.full(11, front)], axis=1), 0.021, colour)
    h.stroke("glasses", [(-0.06, h.eye[1] + 0.03, front + 0.01), (0.06, h.eye[1] + 0.03, front + 0.01)], 0.02, colour)
    _add_temples(h, "glasses", colour, float(h.eye[0]) + wide)


def _headphones(h: Head, colour: np.ndarray) -> None:
    """A band over the head and a cup on each ear."""
    wide, tall = h.wide * 1.22, h.tall * 1.13
    angles = np.linspace(0.02, math.pi - 0.02, 10)
    band = np.stack([wide * np.cos(angles), tall * np.sin(angles), np.full(10, 0.0)], axis=1)
    h.stroke("headphones", band, 0.045, colour * 0.7, deep=0.06)
    for side in (-1, 1):
        turn = about("z", math.pi / 2)
        h.add(
            "headphones",
            "cylinder",
            (side * wide, -0.02, 0.02),
            (0.17, 0.085, 0.15),
            colour,
            rotation=turn,
            material="plastic",
        )
        h.add(
            "headphones",
            "cylinder",
            (side * (wide - 0.08), -0.02, 0.02),
            (0.19, 0.03, 0.17),
            colour * 0.35,
            rotation=turn,
        )


def _scarf(b: Body, colour: np.ndarray) -> None:
    """Wound around the neck, an end hanging down the front."""
    k, wide = b.grown, b.neck_wide
    for up, around, tall in ((0.07, 1.75, 0.11), (-0.06, 2.05, 0.12)):
        b.add(
            "scarf",
            "ellipsoid",
            (0, b.top + up * k, 0.0),
            (wide * around, tall * k, wide * around),
            colour * (0.92 if up > 0 else 1.0),
        )
    x, front = 0.20 * k, b.deep + 0.06
    b.add("scarf", "box", (x, b.top - 0.52 * k, front), (0.14 * k, 0.46 * k, 0.04), colour, rotation=about("z", 0.08))
    for y in (0.70, 0.82):
        b.add(
            "scarf",
            "box",
            (x + 0.02 * k, b.top - y * k, front),
            (0.145 * k, 0.03 * k, 0.045),
            colour * 0.5,
            rotation=about("z", 0.08),
        )


def _necklace(b: Body, colour: np.ndarray) -> None:
    """Beads on the chest with a pendant."""
    k = b.grown
    for share in np.linspace(-1, 1, 9):
        x, y = share * 0.36 * k, b.top + (0.0 - 0.46 * (1 - share * share)) * k
        z = 0.10 + b.deep * (0.42 + 0.60 * (1 - share * share) ** 0.5)
        b.add("necklace", "ellipsoid", (x, y, z), (0.062 * k,) * 3, colour, material="plastic")
    b.add(
        "necklace",
        "ellipsoid",
        (0, b.top - 0.58 * k, b.deep + 0.10),
        (0.10 * k, 0.11 * k, 0.06),
        colour,
        material="plastic",
    )


def _bow_tie(b: Body, colour: np.ndarray) -> None:
    anchor = Anchor(np.array([0, b.top - 0.10 * b.grown, 0.0]), np.array([0.3, 0.1, b.deep * 0.95]))
    _borrowed(b, "bow tie", colour, anchor, scale=1.75 * b.grown)


def _cape(b: Body, colour: np.ndarray) -> None:
    """A sheet behind the back, seen on both sides, hung from a mantle over the shoulders with a clasp."""
    k = b.grown
    high, low = b.top - 0.1 * k, b.waist - 0.6 * k
    size = (b.shoulder * 1.75, (high - low) / 2, 0.05)
    b.add("cape", "cone", (0, (high + low) / 2, -b.deep - 0.06), size, colour * 0.85, taper=0.60)
    for side in (-1, 1):
        at = (side * b.shoulder * 0.66, b.top - 0.22 * k, 0.0)
        b.add(
            "cape",
            "ellipsoid",
            at,
            (b.shoulder * 0.50, 0.24 * k, b.deep * 1.22),
            colour,
            rotation=about("z", -side * 0.42),
        )
    for side in (-1, 1):
        b.stroke(
            "cape",
            [(side * 0.42 * k, b.top - 0.10 * k, b.deep * 0.85), (0, b.top - 0.24 * k, b.deep * 1.08)],
            0.05 * k,
            colour,
        )
    b.add("cape", "ellipsoid", (0, b.top - 0.24 * k, b.deep * 1.15), (0.085 * k, 0.085 * k, 0.05), (0.98, 0.80, 0.18))


_ON_HEAD: dict[str, Callable[[Head, np.ndarray], None]] = {
    "hat": _hat, "crown": _crown, "sunglasses": _sunglasses, "glasses": _glasses, "headphones": _headphones,
}  # fmt: skip
_ON_BODY: dict[str, Callable[[Body, np.ndarray], None]] = {
    "scarf": _scarf, "necklace": _necklace, "bow tie": _bow_tie, "cape": _cape,
}  # fmt: skip
