"""Garments: an individual thing each, with a cut, colours and a pattern that stays with the body."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .bodies import FLOOR, Arm, Body, add_hand
from .faces import HAIR, WHITE
from .graph import Garment
from .shapes import about
from .vocabulary import COLOURS, GARMENTS, PATTERNS

_TROUSERS = np.array([0.16, 0.19, 0.30])
_PATTERN_SCALE = 0.62  # how much wider patterns are on cloth than on toys


def garment(seed: int, *, patterns: Sequence[str] = PATTERNS) -> Garment:
    """The garment of a seed: the same one for ever, whoever wears it."""
    rng = np.random.default_rng((seed, 103))
    names = list(COLOURS)
    kind = GARMENTS[rng.integers(len(GARMENTS))]
    first, second = rng.choice(len(names), 2, replace=False)
    tints = np.stack([np.clip(np.array(COLOURS[names[k]]) + rng.normal(0, 0.03, 3), 0.02, 1) for k in (first, second)])
    plain = rng.random() < 0.35 and "plain" in patterns
    others = [name for name in patterns if name != "plain"]
    pattern = "plain" if plain or not others else others[int(rng.integers(len(others)))]
    return Garment(kind, (names[first], names[second]), tints, pattern, rng.random(4))


def dress(body: Body) -> None:
    """Add the trunk, arms and hands in the garment of the body's face; bare trunks are in one colour."""
    garment = body.face.garment
    if garment is None:
        garment = Garment(
            "",
            ("blue", "blue"),
            np.stack([np.array(HAIR["blue"]) * body.p(22, 0.4, 1.2)] * 2),
            "plain",
            np.full(4, 0.5),
        )
        _Cloth(body, garment, part="body").trunk()
        _add_arms(body, _Cloth(body, garment, part="body"), "long")
        return
    cloth = _Cloth(body, garment, part="garment")
    _CUTS[garment.kind](body, cloth)


class _Cloth:
    """Cloth of one garment on one body."""

    def __init__(self, body: Body, garment: Garment, *, part: str) -> None:
        self.body, self.garment, self.part = body, garment, part
        self.first, self.second = garment.tints

    def add(self, kind: str, at: object, size: object, **more: object) -> None:
        """A solid of patterned cloth, its pattern in the body's coordinates."""
        given = {"frame": np.eye(3, 4) * _PATTERN_SCALE, **self.pattern(), **more}
        self.body.add(self.part, kind, at, size, self.first, **given)  # type: ignore[arg-type]

    def pattern(self) -> dict[str, object]:
        garment = self.garment
        return {"pattern": garment.pattern, "pattern_colour": self.second, "pattern_shape": garment.pattern_shape}

    def trunk(self) -> None:
        """Shoulders and chest down to the waist."""
        b, k = self.body, self.body.grown
        self.add("cone", (0, b.top - 0.07 * k, -0.05), (b.shoulder * 0.80, 0.16 * k, b.deep * 0.9), taper=0.32)
        self.add("ellipsoid", (0, b.top - 0.33 * k, 0), (b.shoulder, 0.27 * k, b.deep))
        self.chest()

    def chest(self, *, wide: float = 0.86) -> None:
        b, k = self.body, self.body.grown
        middle, half = (b.top - 0.3 * k + b.waist - 0.35 * k) / 2, (b.top - b.waist + 0.05 * k) / 2
        self.add("cylinder", (0, middle, 0), (b.shoulder * wide, half, b.deep * 0.97))
        lower = (b.waist - 0.3 * k + FLOOR) / 2
        half = max((b.waist - 0.3 * k - FLOOR) / 2, 0.02)
        b.add("body", "cylinder", (0, lower, 0), (b.shoulder * wide * 0.96, half, b.deep * 0.92), _TROUSERS)


def _add_arms(body: Body, cloth: _Cloth, sleeve: str) -> None:
    """Arms with hands; the sleeve is one of none, short, long."""
    for side in (-1, 1):
        arm, r = body.arms[side], body.radius
        _add_upper_arm(body, cloth, arm, sleeve)
        _bar(body, cloth, arm.elbow, arm.wrist, r * 0.88, covered=sleeve == "long")
        _ball(body, cloth, arm.elbow, r * 0.98, covered=sleeve == "long")
        add_hand(body, arm)


def _add_upper_arm(body: Body, cloth: _Cloth, arm: Arm, sleeve: str) -> None:
    r = body.radius
    _ball(body, cloth, arm.shoulder, r * 1.25, covered=sleeve != "none")
    if sleeve == "short":
        hem = arm.shoulder + 0.62 * (arm.elbow - arm.shoulder)
        _bar(body, cloth, arm.shoulder, hem, r * 1.22, covered=True)
        _bar(body, cloth, hem, arm.elbow, r * 0.95, covered=False)
        return
    _bar(body, cloth, arm.shoulder, arm.elbow, r * 1.05, covered=sleeve == "long")


def _bar(body: Body, cloth: _Cloth, start: np.ndarray, end: np.ndarray, radius: float, *, covered: bool) -> None:
    if covered:
        body.limb(cloth.part, start, end, radius, cloth.first, **cloth.pattern())
    else:
        body.limb("arm", start, end, radius * 0.92, body.person.skin)


def _ball(body: Body, cloth: _Cloth, at: np.ndarray, radius: float, *, covered: bool) -> None:
    if covered:
        cloth.add("ellipsoid", at, (radius,) * 3, frame=np.concatenate([np.eye(3), -at[:, None]], axis=1) * 0.7)
    else:
        body.add("arm", "ellipsoid", at, (radius * 0.92,) * 3, body.person.skin)


# ------------------------------------------------------------------------------------------------------------- the cuts


def _front(b: Body, y: float, x: float = 0.0) -> float:
    """How far forward the trunk is at height y below the base of the neck."""
    share = 1 - (x / b.shoulder) ** 2 - ((y - (b.top - 0.33 * b.grown)) / (0.27 * b.grown)) ** 2
    shoulders = b.deep * max(share, 0.0) ** 0.5
    chest = 0.97 * b.deep * max(1 - (x / (b.shoulder * 0.86)) ** 2, 0.0) ** 0.5 if y < b.top - 0.3 * b.grown else 0.0
    return max(shoulders, chest, 0.12)


def _t_shirt(b: Body, cloth: _Cloth) -> None:
    cloth.trunk()
    _add_arms(b, cloth, "short")
    k = b.grown
    b.add(
        "body",
        "ellipsoid",
        (0, b.top - 0.03 * k, 0.06),
        (b.neck_wide * 1.35, 0.10 * k, b.deep * 0.72),
        b.person.skin * 0.93,
    )


def _sweater(b: Body, cloth: _Cloth) -> None:
    """A high rolled collar and thick cuffs."""
    cloth.trunk()
    _add_arms(b, cloth, "long")
    k, roll = b.grown, cloth.first * 0.72
    for up, wide in ((0.10, 1.22), (0.0, 1.42)):
        b.add(
            "garment",
            "ellipsoid",
            (0, b.top + up * k, -0.04),
            (b.neck_wide * wide, 0.085 * k, b.neck_wide * wide),
            roll,
        )
    for arm in b.arms.values():
        start = arm.wrist + 0.16 * (arm.elbow - arm.wrist)
        b.limb("garment", start, arm.wrist, b.radius * 1.0, roll)


def _shirt(b: Body, cloth: _Cloth) -> None:
    """A white pointed collar, a strip of buttons."""
    cloth.trunk()
    _add_arms(b, cloth, "long")
    k, white = b.grown, WHITE * 0.98
    for side in (-1, 1):
        at = (side * 0.17 * k, b.top - 0.04 * k, b.deep * 0.62)
        b.add(
            "garment",
            "box",
            at,
            (0.15 * k, 0.075 * k, 0.035),
            white,
            rotation=about("z", side * 0.75) @ about("x", -0.5),
        )
    _add_strip(b, cloth.first * 0.7, 0.055 * k)
    for step in range(4):
        y = b.top - (0.28 + 0.36 * step) * k
        b.add("garment", "ellipsoid", (0, y, _front(b, y) + 0.03), (0.045 * k, 0.045 * k, 0.03), white)


def _add_strip(b: Body, colour: np.ndarray, wide: float) -> None:
    k = b.grown
    y, half = b.top - 1.0 * k, 0.85 * k
    b.add("garment", "box", (0, y, b.deep * 0.97), (wide, half, 0.025), colour)


def _gown(b: Body, cloth: _Cloth) -> None:
    """Bare shoulders and arms, straps, a narrow waist and a wide skirt."""
    k, skin = b.grown, b.person.skin
    b.add("body", "cone", (0, b.top - 0.07 * k, -0.05), (b.shoulder * 0.80, 0.16 * k, b.deep * 0.9), skin, taper=0.32)
    b.add("body", "ellipsoid", (0, b.top - 0.33 * k, 0), (b.shoulder * 0.94, 0.27 * k, b.deep * 0.94), skin)
    top, waist = b.top - 0.42 * k, b.top - 1.25 * k
    cloth.add(
        "cone",
        (0, (top + waist) / 2, 0),
        (b.shoulder * 0.86, (top - waist) / 2, b.deep * 1.04),
        taper=0.80,
        rotation=about("z", np.pi),
    )
    cloth.add("cone", (0, (waist + FLOOR) / 2, 0), (b.shoulder * 1.55, (waist - FLOOR) / 2, b.deep * 1.8), taper=0.46)
    b.add("garment", "cylinder", (0, waist, 0), (b.shoulder * 0.74, 0.07 * k, b.deep * 0.92), cloth.second)
    for side in (-1, 1):
        line = [(side * 0.42 * k, top - 0.06 * k, b.deep * 0.98), (side * 0.36 * k, b.top - 0.12 * k, b.deep * 0.72)]
        b.stroke("garment", line, 0.065 * k, cloth.first)
    _add_arms(b, cloth, "none")


def _jacket(b: Body, cloth: _Cloth) -> None:
    """Open over a white shirt, with dark lapels."""
    cloth.trunk()
    _add_arms(b, cloth, "long")
    k = b.grown
    front = b.deep * 0.95
    b.add(
        "garment",
        "cone",
        (0, b.top - 0.62 * k, front),
        (0.30 * k, 0.62 * k, 0.06),
        WHITE * 0.97,
        rotation=about("z", np.pi),
        taper=0.05,
    )
    b.add(
        "garment", "ellipsoid", (0, b.top - 0.05 * k, 0.04), (b.neck_wide * 1.4, 0.10 * k, b.deep * 0.8), WHITE * 0.97
    )
    lapel = cloth.first * 0.55
    for side in (-1, 1):
        line = [(side * x * k, b.top - y * k, front + 0.04) for x, y in ((0.30, 0.02), (0.24, 0.42), (0.04, 1.16))]
        b.stroke("garment", line, 0.085 * k, lapel, deep=0.05)
    b.add("garment", "box", (0, b.top - 1.5 * k, front), (0.03 * k, 0.4 * k, 0.04), lapel)


def _overalls(b: Body, cloth: _Cloth) -> None:
    """A bib with straps and brass buttons over a white shirt."""
    k = b.grown
    under = Garment("", ("white", "white"), np.stack([WHITE * 0.95] * 2), "plain", np.full(4, 0.5))
    shirt = _Cloth(b, under, part="garment")
    shirt.trunk()
    _add_arms(b, shirt, "short")
    cloth.add("box", (0, b.top - 1.02 * k, b.deep * 0.86), (0.44 * k, 0.46 * k, 0.10 * k))
    middle, half = (b.top - 1.45 * k + FLOOR) / 2, (b.top - 1.45 * k - FLOOR) / 2
    cloth.add("cylinder", (0, middle, 0), (b.shoulder * 0.90, half, b.deep * 1.06))
    for side in (-1, 1):
        top = [
            (side * x * k, b.top - y * k, z)
            for x, y, z in (
                (0.36, 0.62, b.deep * 1.08),
                (0.40, 0.30, b.deep * 0.98),
                (0.40, 0.06, 0.10),
                (0.38, 0.0, -0.1),
            )
        ]
        b.stroke("garment", top, 0.085 * k, cloth.first, deep=0.06)
        b.add(
            "garment",
            "ellipsoid",
            (side * 0.36 * k, b.top - 0.64 * k, b.deep * 1.2),
            (0.065 * k, 0.065 * k, 0.03),
            (0.95, 0.78, 0.2),
        )


_CUTS: dict[str, Callable[[Body, _Cloth], None]] = {
    "t-shirt": _t_shirt, "sweater": _sweater, "shirt": _shirt, "dress": _gown, "jacket": _jacket, "overalls": _overalls,
}  # fmt: skip
