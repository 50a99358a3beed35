"""Heads: solids from an identity vector, with expression, gaze, hair and age; and their landmarks.

A head stands at the origin, about one unit tall, and faces +z before its turn. Mouth, eyes and brows are larger than
life, so that they can be read where a head is 30 pixels tall.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .graph import NUM_FACE, Face, Person
from .shapes import IDENTITY, Solid, about, along
from .vocabulary import AGES, HAIR_COLOURS, HAIRSTYLES

HAIR = {
    "black": (0.07, 0.06, 0.06), "brown": (0.33, 0.19, 0.10), "blond": (0.90, 0.74, 0.38),
    "red": (0.70, 0.25, 0.09), "gray": (0.66, 0.66, 0.68), "blue": (0.20, 0.35, 0.80),
}  # fmt: skip
EYES = np.array([(0.28, 0.15, 0.06), (0.12, 0.38, 0.80), (0.13, 0.48, 0.22), (0.32, 0.33, 0.38)])
LANDMARKS = (
    "left eye", "right eye", "left eye inner", "left eye outer", "right eye inner", "right eye outer", "left brow inner",
    "left brow outer", "right brow inner", "right brow outer", "nose bridge", "nose tip", "nose left", "nose right",
    "mouth left", "mouth right", "mouth top", "mouth bottom", "chin", "left ear", "right ear", "forehead",
)  # fmt: skip
PARTS = (
    "head", "hair", "eye", "brow", "nose", "mouth", "ear", "neck", "glasses",
    "body", "arm", "garment", "hand", "hat", "sunglasses", "scarf", "crown", "headphones", "necklace", "cape", "bow tie",
)  # fmt: skip
"""Parts of people: of the head, of the figure, and every accessory. The order is that of `Drawn.part`."""

HEAD_TURN = {"ahead": (0.0, 0.0), "left": (-0.62, 0.0), "right": (0.62, 0.0), "up": (0.0, -0.42), "down": (0.0, 0.40)}
"""Turn about y and tilt about x of the head, radians."""
GAZE = {"ahead": (0.0, 0.0), "left": (-1.0, 0.0), "right": (1.0, 0.0), "up": (0.0, 1.0), "down": (0.0, -1.0)}
"""Where the iris is in the eye, as shares of the way to its rim."""

_FRECKLES = {"pattern": "spotted", "pattern_shape": np.array([0.4, -1.2, 0.3, 1.0]), "frame": np.eye(3, 4) * 3.2}
WHITE, BLACK = np.array([0.97, 0.97, 0.97]), np.array([0.05, 0.05, 0.06])
_OLD_SHAPE = 24  # leading numbers of an identity, drawn before the hairstyle


@dataclass(frozen=True)
class Expression:
    """How an expression moves a face, in head units."""

    lift: float = 0.0  # lift of the mouth's corners
    open: float = 0.0  # half height of the opening
    width: float = 1.0  # width of the mouth, as a factor
    inner: float = 0.0  # lift of the brows' inner ends
    outer: float = 0.0  # lift of the brows' outer ends
    thick: float = 1.0  # of the brows, as a factor
    eyes: float = 1.0  # height of the eyes, as a factor


EXPRESSION = {
    "neutral": Expression(width=0.86),
    "smiling": Expression(lift=0.085, open=0.05, width=1.3, inner=0.025, outer=0.02),
    "sad": Expression(lift=-0.085, width=0.95, inner=0.085, outer=-0.05, eyes=0.85),
    "surprised": Expression(open=0.10, width=0.62, inner=0.10, outer=0.085, eyes=1.3),
    "angry": Expression(lift=-0.025, width=1.05, inner=-0.07, outer=0.05, thick=1.55, eyes=0.78),
}


def person(seed: int) -> Person:
    """The person of a seed: identity [NUM_FACE], skin, hair and age."""
    rng = np.random.default_rng((seed, 101))
    tone = rng.random()
    light, dark = np.array([0.96, 0.80, 0.69]), np.array([0.36, 0.22, 0.15])
    skin = np.clip(light * (1 - tone) + dark * tone + rng.normal(0, 0.015, 3), 0, 1)
    age = AGES[rng.choice(3, p=(0.25, 0.5, 0.25))]
    colour = "gray" if age == "old" and rng.random() < 0.6 else HAIR_COLOURS[rng.integers(len(HAIR_COLOURS))]
    first = rng.random(_OLD_SHAPE)
    style = HAIRSTYLES[rng.integers(len(HAIRSTYLES))]
    identity = np.concatenate([first, rng.random(NUM_FACE - _OLD_SHAPE)])
    return Person(seed, identity, skin, style, colour, age)


class Collector:
    """The solids of one person made so far, in the person's coordinates."""

    def __init__(self, face: Face) -> None:
        self.face, self.person = face, face.person
        self.solids: list[Solid] = []

    def p(self, index: int, low: float, high: float) -> float:
        """A measure between low and high, from the identity vector."""
        return low + (high - low) * float(self.person.identity[index])

    def add(
        self,
        part: str,
        kind: str,
        at: ArrayLike,
        size: ArrayLike,
        colour: ArrayLike,
        *,
        rotation: np.ndarray | None = None,
        taper: float = 0.0,
        material: str = "matte",
        pattern: str = "plain",
        pattern_colour: np.ndarray = WHITE,
        pattern_shape: np.ndarray | None = None,
        frame: np.ndarray = IDENTITY,
        marks: np.ndarray | None = None,
    ) -> None:
        """One solid; `marks` are [n, 7] in the coordinates of `frame`."""
        self.solids.append(
            Solid(
                kind,
                np.asarray(at, dtype=float),
                np.eye(3) if rotation is None else rotation,
                np.maximum(np.asarray(size, dtype=float), 0.004),
                np.clip(np.asarray(colour, dtype=float), 0, 1),
                taper=taper,
                pattern=pattern,
                pattern_colour=pattern_colour,
                pattern_shape=np.full(4, 0.5) if pattern_shape is None else pattern_shape,
                frame=frame,
                material=material,
                part=PARTS.index(part),
                toy=0,
                marks=marks,
            )
        )

    def stroke(
        self, part: str, points: ArrayLike, thick: float, colour: ArrayLike, *, deep: float | None = None
    ) -> None:
        """A line of capsules through points [n, 3]."""
        line = np.asarray(points, dtype=float)
        for start, end in itertools.pairwise(line):
            long = float(np.linalg.norm(end - start)) / 2
            size = (thick, long + 0.75 * thick, thick if deep is None else deep)
            self.add(part, "ellipsoid", (start + end) / 2, size, colour, rotation=along(end - start))


class Head(Collector):
    """Measures of one head, and the solids made of it so far."""

    def __init__(self, face: Face) -> None:
        super().__init__(face)
        self.young, self.old = self.person.age == "child", self.person.age == "old"
        self.mood = EXPRESSION[face.expression]
        self.wide, self.tall, self.deep = self.p(0, 0.34, 0.46), self.p(1, 0.44, 0.54), self.p(2, 0.36, 0.43)
        self.tall *= 0.9 if self.young else 1.0
        self.jaw_wide = self.wide * self.p(14, 0.66, 1.0)
        self.jaw_tall, self.jaw_deep = self.tall * self.p(15, 0.48, 0.60), self.deep * 0.84
        self._place_eyes()
        self._place_nose_and_mouth()

    def _place_eyes(self) -> None:
        grown = 1.15 if self.young else 1.0
        level = self.p(3, 0.0, 0.08) - (0.05 if self.young else 0.0)
        wide, high = self.p(4, 0.080, 0.108) * grown, self.p(5, 0.058, 0.082) * grown
        self.eye_size = np.array([wide, high * self.mood.eyes, 0.042])
        apart = max(self.p(6, 0.140, 0.205), wide + 0.035)
        self.eye = np.array([apart, level, self.surface(apart, level) - 0.008])
        near, far = self.surface(apart - wide, level), self.surface(apart + wide, level)
        self.eye_turn = 0.9 * math.atan2(near - far, 2 * wide)  # radians: eyes follow the curve of the face
        self.brow_y = level + high + self.p(7, 0.040, 0.085)
        self.brow_half = self.p(31, 0.085, 0.115)
        self.brow_thick = self.p(21, 0.017, 0.038) * self.mood.thick

    def _place_nose_and_mouth(self) -> None:
        level = float(self.eye[1])
        small = 0.75 if self.young else 1.0
        self.nose_size = np.array([self.p(8, 0.040, 0.085), self.p(9, 0.07, 0.13), self.p(10, 0.05, 0.12)]) * small
        low = level - self.p(11, 0.12, 0.18) * (0.85 if self.young else 1.0)
        self.nose = np.array([0, low, self.surface(0, low)])
        mouth = low - self.p(12, 0.125, 0.165)
        self.mouth = np.array([0, mouth, self.surface(0, mouth)])
        self.mouth_half = self.p(13, 0.095, 0.155) * self.mood.width

    @property
    def height(self) -> float:
        """From the chin to the top of the skull."""
        return self.tall + 0.46 * self.tall + self.jaw_tall

    def surface(self, x: float, y: float) -> float:
        """How far forward skull or jaw is at (x, y)."""
        skull = 1 - (x / self.wide) ** 2 - (y / self.tall) ** 2
        jaw = 1 - (x / self.jaw_wide) ** 2 - ((y + 0.46 * self.tall) / self.jaw_tall) ** 2
        ahead = self.deep * math.sqrt(max(skull, 0.02))
        return max(ahead, 0.10 * self.deep + self.jaw_deep * math.sqrt(max(jaw, 0.0)))

    def on_face(self, x: float, y: float, out: float = 0.0) -> tuple[float, float, float]:
        """The point of the face's surface at (x, y), moved forward by `out`."""
        return (x, y, self.surface(x, y) + out)

    def turn(self) -> np.ndarray:
        """[3, 4]: the head's turn about the top of the neck."""
        around, over = HEAD_TURN[self.face.head]
        matrix = about("y", around + self.face.turn) @ about("x", over)
        pivot = np.array([0.0, -0.55 * self.tall, -0.1])
        return np.concatenate([matrix, (pivot - matrix @ pivot)[:, None]], axis=1)


def build_head(head: Head) -> None:
    """Add the head's solids, before its turn."""
    for build in (
        _add_skull,
        _add_marks_of_skin,
        _add_eyes,
        _add_brows,
        _add_nose,
        _add_mouth,
        _add_age,
        _add_hair,
        _add_beard,
    ):
        build(head)


def head_landmarks(head: Head) -> np.ndarray:
    """[len(LANDMARKS), 3] in the coordinates of the head before its turn, in the order of LANDMARKS."""
    eye, mouth, nose, mood = head.eye, head.mouth, head.nose, head.mood
    inner, outer = eye[0] - head.eye_size[0], eye[0] + head.eye_size[0]
    brows = ((-1.0, mood.inner), (1.0, mood.outer))
    points = [
        *((s * eye[0], eye[1], eye[2] + 0.03) for s in (-1, 1)),
        *(head.on_face(s * x, eye[1]) for s in (-1, 1) for x in (inner, outer)),
        *(head.on_face(s * (eye[0] + d * head.brow_half), head.brow_y + up) for s in (-1, 1) for d, up in brows),
        (0, eye[1], nose[2] + 0.02), (0, nose[1], nose[2] + head.nose_size[2]),
        *((s * head.nose_size[0], nose[1], nose[2]) for s in (-1, 1)),
        *(head.on_face(s * head.mouth_half, mouth[1] + mood.lift) for s in (-1, 1)),
        (0, mouth[1] + mood.open + 0.02, mouth[2]), (0, mouth[1] - mood.open - 0.02, mouth[2]),
        (0, -0.46 * head.tall - 0.97 * head.jaw_tall, 0.1 * head.deep + 0.2 * head.jaw_deep),
        (-head.wide, 0, 0), (head.wide, 0, 0), head.on_face(0, head.tall * 0.6),
    ]  # fmt: skip
    return np.array(points, dtype=float)


# ------------------------------------------------------------------------------------------------------------- the face


def _add_skull(h: Head) -> None:
    skin = h.person.skin
    h.add("head", "ellipsoid", (0, 0, 0), (h.wide, h.tall, h.deep), skin, marks=_mole(h))
    jaw = (h.jaw_wide, h.jaw_tall, h.jaw_deep)
    h.add("head", "ellipsoid", (0, -h.tall * 0.46, h.deep * 0.10), jaw, skin, marks=_mole(h))
    for side in (-1, 1):
        ear = (h.p(34, 0.04, 0.085), h.p(18, 0.08, 0.14), 0.06)
        h.add("ear", "ellipsoid", (side * h.wide * 1.0, -0.02, -0.03), ear, skin * 0.95)


def _mole(h: Head) -> np.ndarray | None:
    """One person in five has a mole, always in the same place."""
    if h.p(25, 0, 1) < 0.8:
        return None
    side = -1 if h.p(26, 0, 1) < 0.5 else 1
    x, y = side * h.p(26, 0.5, 1.0) * h.jaw_wide * 0.55, h.mouth[1] + h.p(25, -4.0, 1.0) * 0.11 + 0.04
    return np.array([[*h.on_face(x, y), 0.032, *(h.person.skin * 0.28)]])


def _add_marks_of_skin(h: Head) -> None:
    """Cheeks; one person in six has freckles on them."""
    skin = h.person.skin
    freckled = h.p(24, 0, 1) > 0.83
    blush = np.array([1.0, h.p(37, 0.86, 0.99), h.p(37, 0.86, 0.99)])
    for side in (-1, 1):
        at = np.array(h.on_face(side * h.eye[0] * 1.15, h.eye[1] - 0.16, -0.045))
        spots = _FRECKLES | {"pattern_colour": skin * np.array([0.66, 0.50, 0.42])} if freckled else {}
        h.add(
            "head",
            "ellipsoid",
            at,
            (h.p(16, 0.09, 0.14), 0.085, h.p(17, 0.055, 0.085)),
            skin * blush,
            **spots,  # type: ignore[arg-type]
        )


def _add_eyes(h: Head) -> None:
    iris = EYES[int(h.p(19, 0, 3.999))]
    lash = np.array([0.10, 0.07, 0.06])
    wide, high, deep = h.eye_size
    for side in (-1, 1):
        at, turn = h.eye * np.array([side, 1, 1]), about("y", side * h.eye_turn)
        if h.face.gaze == "closed":
            h.add("eye", "ellipsoid", at, (wide, high * 0.9, deep), h.person.skin * 0.90, rotation=turn)
            _add_lid(h, at, -0.55, 0.021, lash)
            continue
        h.add("eye", "ellipsoid", at, (wide, high, deep), WHITE, rotation=turn, marks=_iris(h, at, turn, iris))
        _add_lid(h, at, 0.92, 0.016, lash)


def _iris(h: Head, at: np.ndarray, turn: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """[3, 7] marks of iris, pupil and glint on an eye turned by [3, 3]."""
    wide, high, deep = h.eye_size
    across, up = GAZE[h.face.gaze]
    radius = 0.82 * float(h.eye_size[1] / h.mood.eyes)
    x, y = across * (wide - 0.62 * radius), up * 0.62 * high

    def on_eye(dx: float, dy: float) -> np.ndarray:
        front = math.sqrt(max(1 - (dx / wide) ** 2 - (dy / high) ** 2, 0.0))
        return at + turn @ np.array([dx, dy, deep * front])

    rows = [
        [*on_eye(x, y), radius, *colour],
        [*on_eye(x, y), radius * 0.58, *BLACK],
        [*on_eye(x - 0.35 * radius, y + 0.35 * radius), radius * 0.27, 1, 1, 1],
    ]
    return np.array(rows)


def _add_lid(h: Head, at: np.ndarray, height: float, thick: float, colour: np.ndarray) -> None:
    """A line of lashes along the eye; `height` is where its middle is, as a share of the eye's own height."""
    wide, high, deep = h.eye_size
    share = np.linspace(-1, 1, 5)
    y = height * high * (1 - share**2)
    tilt = h.p(35, -0.02, 0.03) * np.sign(at[0]) * share
    points = np.stack([share * wide, y + tilt, deep * np.sqrt(1 - 0.9 * share**2)], axis=1)
    points = points @ about("y", np.sign(at[0]) * h.eye_turn).T + at
    h.stroke("eye", points, thick, colour)


def _add_brows(h: Head) -> None:
    colour = np.array(HAIR[h.person.hair_colour]) * 0.6
    if abs(_luma(colour) - _luma(h.person.skin)) < 0.16:
        colour = h.person.skin * 0.35
    for side in (-1, 1):
        share = np.array([-1.0, 0.0, 1.0])
        lift = h.mood.inner + (h.mood.outer - h.mood.inner) * (share + 1) / 2
        arch = h.p(20, -0.004, 0.024) * (1 - share**2) + lift
        points = [
            h.on_face(side * (h.eye[0] + s * h.brow_half), h.brow_y + up, 0.012)
            for s, up in zip(share, arch, strict=True)
        ]
        h.stroke("brow", points, h.brow_thick, colour, deep=0.025)


def _luma(colour: np.ndarray) -> float:
    return float(colour @ np.array([0.3, 0.59, 0.11]))


def _add_nose(h: Head) -> None:
    skin = h.person.skin
    bridge = h.nose + (0, h.nose_size[1] * 0.6, 0)
    h.add("nose", "ellipsoid", bridge, (h.nose_size[0] * 0.55, h.nose_size[1], h.nose_size[2] * 0.7), skin * 0.97)
    tip = (h.nose_size[0], h.nose_size[0] * 0.75, h.nose_size[2])
    h.add("nose", "ellipsoid", h.nose, tip, skin * np.array([0.98, 0.84, 0.80]))


def _add_mouth(h: Head) -> None:
    {"smiling": _smile, "surprised": _gape}.get(h.face.expression, _closed_mouth)(h)


def _lip(h: Head) -> np.ndarray:
    """Lips are redder than the skin; one person in seven paints them."""
    red = np.array([0.78, 0.05, 0.16]) if h.p(30, 0, 1) > 0.86 and not h.young else np.array([0.66, 0.20, 0.20])
    return 0.28 * h.person.skin + 0.72 * red


def _line_of_mouth(h: Head) -> np.ndarray:
    return _lip(h) * (0.62 if _luma(h.person.skin) > 0.4 else 1.0)


def _arc(h: Head, y: float, lift: float, *, out: float, count: int = 7) -> list[tuple[float, float, float]]:
    """Points of a parabola through the mouth's middle at height y whose ends are `lift` higher."""
    shares = np.linspace(-1, 1, count)
    return [h.on_face(s * h.mouth_half, h.mouth[1] + y + lift * s * s, out) for s in shares]


def _closed_mouth(h: Head) -> None:
    thick = h.p(29, 0.016, 0.034)
    if h.face.expression == "neutral":
        h.stroke("mouth", _arc(h, -0.012, 0.006, out=0.004, count=4), thick, _lip(h), deep=0.022)
        h.stroke("mouth", _arc(h, -0.004, 0.014, out=0.014, count=4), 0.012, _line_of_mouth(h) * 0.7, deep=0.018)
        return
    middle = -h.mood.lift * 0.55
    width = 0.024 if h.face.expression == "sad" else 0.030
    h.stroke("mouth", _arc(h, middle, h.mood.lift, out=0.008), width, _line_of_mouth(h), deep=0.024)


def _smile(h: Head) -> None:
    """Teeth between two arcs that meet at raised corners."""
    top, bottom, lift = 0.005, -0.095, h.mood.lift
    for s in np.linspace(-0.78, 0.78, 6):
        high, low = top + (lift - top) * s * s, bottom + (lift - bottom) * s * s
        at = h.on_face(s * h.mouth_half, h.mouth[1] + (high + low) / 2, 0.006)
        h.add("mouth", "ellipsoid", at, (h.mouth_half * 0.22, (high - low) / 2 + 0.006, 0.014), WHITE)
    h.stroke("mouth", _arc(h, top, lift - top, out=0.008), 0.016, _line_of_mouth(h), deep=0.022)
    h.stroke("mouth", _arc(h, bottom, lift - bottom, out=0.008), 0.021, _line_of_mouth(h), deep=0.022)


def _gape(h: Head) -> None:
    at, wide = h.mouth - (0, 0.03, 0), h.mouth_half * 0.62 + 0.022
    h.add("mouth", "ellipsoid", at, (wide + 0.028, h.mood.open + 0.028, 0.040), _lip(h))
    h.add("mouth", "ellipsoid", at + (0, 0, 0.018), (wide, h.mood.open, 0.036), (0.16, 0.03, 0.04))


def _add_age(h: Head) -> None:
    """Wrinkles of the old: under the eyes, beside the mouth, on the forehead."""
    if not h.old:
        return
    crease = h.person.skin * 0.66
    for side in (-1, 1):
        low = h.eye[1] - h.eye_size[1] - 0.045
        bags = [h.on_face(side * (h.eye[0] + d), low + 5 * d * d, 0.012) for d in (-0.07, 0.0, 0.07)]
        h.stroke("head", bags, 0.011, crease)
        x = h.mouth_half + 0.045
        fold = [h.on_face(side * x * s, y, 0.004) for s, y in ((0.7, h.nose[1]), (1.0, h.mouth[1] - 0.02))]
        h.stroke("head", fold, 0.012, crease)
    for up in (0.58, 0.70):
        line = [h.on_face(x, h.tall * up, 0.002) for x in (-0.13, 0.0, 0.13)]
        h.stroke("head", line, 0.010, crease)


# ----------------------------------------------------------------------------------------------------------------- hair


def _add_beard(h: Head) -> None:
    """One grown-up in five has a moustache or a beard."""
    if h.young or h.p(27, 0, 1) < 0.8:
        return
    colour = np.array(HAIR[h.person.hair_colour]) * 0.85
    beard, moustache = h.p(27, 0, 1) > 0.87, h.p(27, 0, 1) < 0.95
    if moustache:
        y = (h.nose[1] + h.mouth[1]) / 2 + 0.012
        for side in (-1, 1):
            points = [h.on_face(side * x, y - drop, 0.012) for x, drop in ((0.01, 0.0), (0.075, 0.01), (0.135, 0.045))]
            h.stroke("hair", points, 0.026, colour, deep=0.03)
    if beard:
        long = h.p(28, 0.10, 0.24)
        at = (0, -0.46 * h.tall - 0.90 * h.jaw_tall, h.deep * 0.18)
        h.add("hair", "ellipsoid", at, (h.jaw_wide * 0.80, long, h.jaw_deep * 0.78), colour)
        for side in (-1, 1):
            line = [
                (side * h.jaw_wide * x, y, z)
                for x, y, z in (
                    (1.0, -0.12, 0.06),
                    (0.93, -0.34 * h.tall - 0.1, 0.10),
                    (0.6, -0.46 * h.tall - 0.62 * h.jaw_tall, 0.22),
                )
            ]
            h.stroke("hair", line, 0.058, colour)


def _add_hair(h: Head) -> None:
    style = h.person.hairstyle
    colour = np.array(HAIR[h.person.hair_colour])
    full = h.p(23, 1.04, 1.13)
    if style not in ("bald", "mohawk"):
        h.add(
            "hair",
            "ellipsoid",
            (0, h.tall * 0.22, -h.deep * 0.24),
            (h.wide * full, h.tall * 0.89, h.deep * 0.98),
            colour,
        )
    _HAIRSTYLES[style](h, colour)


def _bald(h: Head, colour: np.ndarray) -> None:
    """No hair; a shine on the skull."""
    h.add("head", "ellipsoid", h.on_face(-0.12, h.tall * 0.74, -0.012), (0.06, 0.03, 0.02), h.person.skin * 0.6 + 0.4)


def _fringe(h: Head, colour: np.ndarray) -> None:
    """Hair over the forehead, parted where the identity says."""
    part = h.p(32, -0.5, 0.5) * h.wide
    for side, edge in ((-1, -h.wide), (1, h.wide)):
        middle = (part + edge) / 2
        size = (abs(edge - part) / 2 + 0.05, h.tall * h.p(39, 0.17, 0.24), h.deep * 0.36)
        at = (middle, h.tall * 0.74, h.deep * 0.36 * (1 - 0.5 * (middle / h.wide) ** 2))
        h.add("hair", "ellipsoid", at, size, colour, rotation=about("z", -side * 0.32))


def _short(h: Head, colour: np.ndarray) -> None:
    _fringe(h, colour)
    for side in (-1, 1):
        h.add("hair", "ellipsoid", (side * h.wide * 0.97, h.tall * 0.22, 0.0), (0.06, h.tall * 0.34, 0.15), colour)


def _long(h: Head, colour: np.ndarray) -> None:
    _fringe(h, colour)
    low = h.tall * h.p(33, 1.15, 1.75)
    for side in (-1, 1):
        middle = (h.tall * 0.45 - low) / 2
        h.add(
            "hair",
            "ellipsoid",
            (side * h.wide * 1.08, middle, -0.06),
            (0.14, (h.tall * 0.45 + low) / 2, 0.2),
            colour,
            rotation=about("z", side * 0.06),
        )
    h.add("hair", "ellipsoid", (0, -low * 0.4, -h.deep * 0.62), (h.wide * 1.1, low * 0.62, 0.16), colour * 0.8)


def _curly(h: Head, colour: np.ndarray) -> None:
    ball = h.p(33, 0.115, 0.155)
    for k in range(13):
        angle = math.pi * (-0.16 + 1.32 * k / 12)
        at = (h.wide * 1.10 * math.cos(angle), h.tall * (0.24 + 0.84 * math.sin(angle)), -0.05)
        h.add("hair", "ellipsoid", at, (ball, ball, ball * 1.3), colour * (0.82 + 0.18 * (k % 2)))
    for k in range(5):
        angle = math.pi * (0.2 + 0.6 * k / 4)
        at = (h.wide * 0.80 * math.cos(angle), h.tall * (0.14 + 0.66 * math.sin(angle)), h.deep * 0.52)
        h.add("hair", "ellipsoid", at, (ball * 0.86,) * 3, colour * (1.0 - 0.18 * (k % 2)))


def _bun(h: Head, colour: np.ndarray) -> None:
    """A knot on top, or low at the nape under a hat."""
    _fringe(h, colour)
    size = h.p(33, 0.15, 0.20)
    at = (0.0, h.tall * 1.16, -0.08)
    if "hat" in h.face.accessories:
        at = (h.wide * 0.95, -h.tall * 0.65, -h.deep * 0.85)
    h.add("hair", "ellipsoid", at, (size, size * 0.9, size), colour)
    h.add("hair", "ellipsoid", (at[0], at[1] - size * 0.62, at[2]), (size * 0.7, 0.035, size * 0.7), colour * 0.55)


def _mohawk(h: Head, colour: np.ndarray) -> None:
    high = h.p(33, 0.18, 0.27)
    for k in range(7):
        angle = -0.62 + 0.36 * k
        if "hat" in h.face.accessories and angle < 0.9:
            continue
        at = (0, h.tall * math.cos(angle) * 1.05, -h.deep * math.sin(angle) * 1.02)
        h.add("hair", "ellipsoid", at, (0.09, high, 0.12), colour, rotation=about("x", -angle))


_HAIRSTYLES: dict[str, Callable[[Head, np.ndarray], None]] = {
    "bald": _bald, "short": _short, "long": _long, "curly": _curly, "bun": _bun, "mohawk": _mohawk,
}  # fmt: skip
