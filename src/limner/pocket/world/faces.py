"""Faces: a head of solids from an identity vector, with expression, hair, glasses and age; and its landmarks.

The head stands at the origin, about one unit tall, and faces +z before its turn.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .graph import NUM_FACE, Face, Person
from .shapes import Solid, about, moved, placed
from .vocabulary import AGES, HAIR_COLOURS, HAIRSTYLES

HAIR = {
    "black": (0.07, 0.06, 0.06), "brown": (0.33, 0.19, 0.10), "blond": (0.90, 0.74, 0.38),
    "red": (0.70, 0.25, 0.09), "gray": (0.66, 0.66, 0.68), "blue": (0.20, 0.35, 0.80),
}  # fmt: skip
EYES = np.array([(0.25, 0.14, 0.06), (0.20, 0.40, 0.75), (0.20, 0.50, 0.25), (0.35, 0.35, 0.38)])
LANDMARKS = (
    "left eye", "right eye", "left eye inner", "left eye outer", "right eye inner", "right eye outer", "left brow inner",
    "left brow outer", "right brow inner", "right brow outer", "nose bridge", "nose tip", "nose left", "nose right",
    "mouth left", "mouth right", "mouth top", "mouth bottom", "chin", "left ear", "right ear", "forehead",
)  # fmt: skip
PARTS = ("head", "hair", "eye", "brow", "nose", "mouth", "ear", "neck", "glasses")

_MOUTHS = {
    # expression: (lift of the corners, opening, lift of the brows, slant of the brows towards the nose)
    "neutral": (0.0, 0.0, 0.0, 0.0),
    "smiling": (0.045, 0.012, 0.01, 0.0),
    "sad": (-0.04, 0.0, 0.01, -0.35),
    "surprised": (0.0, 0.05, 0.05, 0.0),
    "angry": (-0.02, 0.008, -0.02, 0.4),
}


def person(seed: int) -> Person:
    """The person of a seed: identity [NUM_FACE], skin, hair and age."""
    rng = np.random.default_rng((seed, 101))
    tone = rng.random()
    light, dark = np.array([0.96, 0.80, 0.69]), np.array([0.36, 0.22, 0.15])
    skin = np.clip(light * (1 - tone) + dark * tone + rng.normal(0, 0.015, 3), 0, 1)
    age = AGES[rng.choice(3, p=(0.25, 0.5, 0.25))]
    colour = "gray" if age == "old" and rng.random() < 0.6 else HAIR_COLOURS[rng.integers(len(HAIR_COLOURS))]
    return Person(seed, rng.random(NUM_FACE), skin, HAIRSTYLES[rng.integers(len(HAIRSTYLES))], colour, age)


def face_solids(face: Face) -> list[Solid]:
    """The head, placed and turned."""
    maker = _Head(face)
    for build in (_skull, _features, _hair, _glasses):
        build(maker)
    return moved(maker.solids, placed(turn=face.turn))


def face_landmarks(face: Face) -> np.ndarray:
    """[len(LANDMARKS), 3] in world coordinates, in the order of LANDMARKS."""
    maker = _Head(face)
    eye, brow, mouth, nose = maker.eye, maker.brow, maker.mouth, maker.nose
    inner, outer = eye[0] - maker.eye_size[0], eye[0] + maker.eye_size[0]
    half = maker.mouth_width
    points = [
        *((s * eye[0], eye[1], eye[2] + 0.05) for s in (-1, 1)),
        *((s * x, eye[1], eye[2]) for s in (-1, 1) for x in (inner, outer)),
        *((s * (brow[0] + d), brow[1], brow[2]) for s in (-1, 1) for d in (-0.06, 0.06)),
        (0, eye[1], nose[2] - 0.05), (0, nose[1], nose[2] + maker.nose_size[2]),
        *((s * maker.nose_size[0], nose[1], nose[2]) for s in (-1, 1)),
        *((s * half, mouth[1] + maker.lift, mouth[2]) for s in (-1, 1)),
        (0, mouth[1] + maker.open + 0.02, mouth[2]), (0, mouth[1] - maker.open - 0.02, mouth[2]),
        (0, -maker.tall * 0.98, 0.12), (-maker.wide, 0, 0), (maker.wide, 0, 0), (0, maker.tall * 0.6, maker.deep * 0.8),
    ]  # fmt: skip
    return np.array(points, dtype=float) @ about("y", face.turn).T


class _Head:
    """Measures of one head, and the solids made of it so far."""

    def __init__(self, face: Face) -> None:
        self.face, self.person = face, face.person
        self.solids: list[Solid] = []
        young, old = self.person.age == "child", self.person.age == "old"
        self.wide, self.tall, self.deep = self.p(0, 0.33, 0.43), self.p(1, 0.43, 0.54), self.p(2, 0.36, 0.43)
        self.tall *= 0.9 if young else 1.0
        level = self.p(3, 0.02, 0.10) - (0.06 if young else 0)
        grown = 1.25 if young else 1.0
        self.eye_size = (self.p(4, 0.055, 0.085) * grown, self.p(5, 0.035, 0.06) * grown, 0.04)
        self.eye = np.array([self.p(6, 0.12, 0.18), level, 0.0])
        self.eye[2] = self.surface(self.eye[0], level) - 0.015
        self.lift, self.open, brow_lift, self.slant = _MOUTHS[face.expression]
        brow = level + self.p(7, 0.09, 0.14) + brow_lift
        self.brow = np.array([self.eye[0], brow, self.surface(self.eye[0], brow)])
        self.nose_size = (
            self.p(8, 0.035, 0.075),
            self.p(9, 0.06, 0.12),
            self.p(10, 0.05, 0.11) * (0.7 if young else 1.0),
        )
        self.nose = np.array([0, level - self.p(11, 0.10, 0.16), self.surface(0, level - 0.12)])
        mouth = self.nose[1] - self.p(12, 0.10, 0.16)
        self.mouth = np.array([0, mouth, self.surface(0, mouth) + 0.005])
        self.mouth_width = self.p(13, 0.08, 0.14)
        self.old = old

    def p(self, index: int, low: float, high: float) -> float:
        return low + (high - low) * float(self.person.identity[index])

    def surface(self, x: float, y: float) -> float:
        """How far forward the skull is at (x, y)."""
        return self.deep * math.sqrt(max(1 - (x / self.wide) ** 2 - (y / self.tall) ** 2, 0.04))

    def add(
        self,
        part: str,
        kind: str,
        at: tuple[float, ...] | np.ndarray,
        size: tuple[float, ...],
        colour: np.ndarray,
        *,
        rotation: np.ndarray | None = None,
        taper: float = 0.0,
        material: str = "matte",
    ) -> None:
        turned = np.eye(3) if rotation is None else rotation
        self.solids.append(
            Solid(
                kind,
                np.array(at, float),
                turned,
                np.array(size, float),
                np.array(colour, float),
                taper=taper,
                part=PARTS.index(part),
                toy=0,
                material=material,
            )
        )


def _skull(h: _Head) -> None:
    skin = h.person.skin
    h.add("head", "ellipsoid", (0, 0, 0), (h.wide, h.tall, h.deep), skin)
    jaw = h.p(14, 0.62, 0.92)
    h.add(
        "head",
        "ellipsoid",
        (0, -h.tall * 0.5, h.deep * 0.12),
        (h.wide * jaw, h.tall * h.p(15, 0.48, 0.56), h.deep * 0.8),
        skin,
    )
    for side in (-1, 1):
        h.add(
            "head",
            "ellipsoid",
            (side * h.wide * 0.55, -0.08, h.deep * 0.55),
            (h.p(16, 0.08, 0.16), 0.1, h.p(17, 0.08, 0.14)),
            skin * np.array([1.0, 0.95, 0.95]),
        )
        h.add("ear", "ellipsoid", (side * h.wide * 0.98, 0, -0.02), (0.045, h.p(18, 0.07, 0.13), 0.07), skin * 0.95)
    h.add("neck", "cylinder", (0, -h.tall - 0.12, -0.05), (h.wide * 0.5, 0.25, h.wide * 0.5), skin * 0.92)
    h.add(
        "neck", "ellipsoid", (0, -h.tall - 0.42, -0.08), (0.62, 0.24, 0.3), np.array(HAIR["blue"]) * h.p(22, 0.4, 1.2)
    )


def _features(h: _Head) -> None:
    skin, white, dark = h.person.skin, np.array([0.97, 0.97, 0.97]), np.array([0.05, 0.05, 0.06])
    iris = EYES[int(h.p(19, 0, 3.999))]
    hair = np.array(HAIR[h.person.hair_colour]) * 0.8
    for side in (-1, 1):
        at = h.eye * np.array([side, 1, 1])
        wide, high, deep = h.eye_size
        h.add("eye", "ellipsoid", at, (wide, high * (1.3 if h.face.expression == "surprised" else 1.0), deep), white)
        h.add("eye", "ellipsoid", at + (0, 0, deep * 0.72), (high * 0.62, high * 0.62, deep * 0.45), iris)
        h.add("eye", "ellipsoid", at + (0, 0, deep * 0.98), (high * 0.3, high * 0.3, deep * 0.3), dark)
        slant = about("z", side * (h.slant + h.p(20, -0.15, 0.15)))
        h.add(
            "brow",
            "ellipsoid",
            h.brow * np.array([side, 1, 1]),
            (0.085, h.p(21, 0.012, 0.028), 0.03),
            hair,
            rotation=slant,
        )
    h.add(
        "nose",
        "ellipsoid",
        h.nose + (0, h.nose_size[1] * 0.5, 0),
        (h.nose_size[0] * 0.6, h.nose_size[1], h.nose_size[2] * 0.7),
        skin,
    )
    h.add(
        "nose",
        "ellipsoid",
        h.nose,
        (h.nose_size[0], h.nose_size[0] * 0.8, h.nose_size[2]),
        skin * np.array([1.0, 0.92, 0.9]),
    )
    red = np.clip(skin * np.array([0.9, 0.55, 0.55]), 0, 1)
    for k in range(-3, 4):
        share = k / 3
        at = h.mouth + (share * h.mouth_width, h.lift * share * share, -0.05 * share * share)
        h.add("mouth", "ellipsoid", at, (h.mouth_width * 0.28, 0.017, 0.022), red)
    if h.open > 0:
        h.add(
            "mouth",
            "ellipsoid",
            h.mouth,
            (h.mouth_width * (0.5 if h.face.expression == "surprised" else 0.8), h.open, 0.024),
            dark * 3,
        )
    if h.old:
        for side in (-1, 1):
            h.add(
                "head",
                "ellipsoid",
                h.eye * np.array([side, 1, 1]) + (0, -0.075, 0.01),
                (0.075, 0.008, 0.012),
                skin * 0.75,
            )
            h.add(
                "head",
                "ellipsoid",
                h.mouth + (side * h.mouth_width * 1.3, 0.06, -0.05),
                (0.008, 0.06, 0.015),
                skin * 0.75,
                rotation=about("z", side * 0.4),
            )


def _hair(h: _Head) -> None:
    style = h.person.hairstyle
    if style == "bald":
        return
    colour = np.array(HAIR[h.person.hair_colour])
    full = h.p(23, 1.03, 1.12)
    if style == "mohawk":
        for k in range(7):
            angle = -0.5 + 0.35 * k
            at = (0, h.tall * math.cos(angle) * 1.05, -h.deep * math.sin(angle) * 1.02)
            h.add("hair", "ellipsoid", at, (0.05, 0.13, 0.1), colour)
        return
    h.add("hair", "ellipsoid", (0, h.tall * 0.24, -h.deep * 0.2), (h.wide * full, h.tall * 0.86, h.deep * 0.96), colour)
    _HAIRSTYLES[style](h, colour)


def _short(h: _Head, colour: np.ndarray) -> None:
    h.add("hair", "ellipsoid", (0, h.tall * 0.72, h.deep * 0.35), (h.wide * 0.72, h.tall * 0.2, h.deep * 0.42), colour)


def _long(h: _Head, colour: np.ndarray) -> None:
    _short(h, colour)
    for side in (-1, 1):
        h.add("hair", "ellipsoid", (side * h.wide * 0.93, -h.tall * 0.45, -0.1), (0.12, h.tall * 0.95, 0.18), colour)


def _curly(h: _Head, colour: np.ndarray) -> None:
    for k in range(11):
        angle = math.pi * (k / 10)
        at = (h.wide * 1.02 * math.cos(angle), h.tall * (0.3 + 0.75 * math.sin(angle)), -0.02 + 0.12 * math.sin(angle))
        h.add("hair", "ellipsoid", at, (0.13, 0.13, 0.15), colour * (0.9 + 0.1 * (k % 2)))


def _bun(h: _Head, colour: np.ndarray) -> None:
    _short(h, colour)
    h.add("hair", "ellipsoid", (0, h.tall * 1.2, -0.08), (0.17, 0.15, 0.17), colour)


_HAIRSTYLES: dict[str, Callable[[_Head, np.ndarray], None]] = {
    "short": _short,
    "long": _long,
    "curly": _curly,
    "bun": _bun,
}


def _glasses(h: _Head) -> None:
    if not h.face.glasses:
        return
    frame = np.array([0.08, 0.08, 0.1])
    for side in (-1, 1):
        center = h.eye * np.array([side, 1, 1]) + (0, 0, 0.07)
        for k in range(14):
            angle = 2 * math.pi * k / 14
            h.add(
                "glasses",
                "ellipsoid",
                center + (0.105 * math.cos(angle), 0.085 * math.sin(angle), 0),
                (0.022, 0.022, 0.014),
                frame,
                material="plastic",
            )
        h.add(
            "glasses",
            "box",
            (side * h.wide * 0.85, h.eye[1] + 0.02, h.eye[2] * 0.5),
            (0.012, 0.012, h.eye[2] * 0.55),
            frame,
        )
    h.add("glasses", "box", (0, h.eye[1] + 0.02, h.eye[2] + 0.09), (h.eye[0] - 0.095, 0.012, 0.012), frame)
