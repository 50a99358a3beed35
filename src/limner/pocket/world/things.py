"""Toys that are things: vehicles, vessels, bags, buildings, plants, furniture."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from .making import BLACK, Maker, Point
from .shapes import about, along


def _wheels(m: Maker, places: Sequence[tuple[float, float]], radius: float, wide: float) -> None:
    for x, z in places:
        turned = about("z", math.pi / 2)
        m.add(
            "cylinder",
            (x, radius, z),
            (radius, wide, radius),
            BLACK * 2,
            part="wheel",
            rotation=turned,
            material="matte",
        )
        m.add(
            "cylinder",
            (x * 1.01, radius, z),
            (radius * 0.5, wide * 1.08, radius * 0.5),
            m.third,
            part="wheel",
            rotation=turned,
        )


def _thing_anchors(m: Maker, top: Point, face: Point, wide: float, deep: float, waist: float) -> None:
    """Anchors of something without a head: a hat goes on top, glasses on the face, a scarf around the waist."""
    m.anchor("head_top", top, (wide * 0.5, 0.14, wide * 0.5))
    m.anchor("eyes", face, (wide * 0.55, 0.07, 0.06))
    m.anchor("neck", (0, waist, 0), (wide * 1.03, 0.05, deep * 1.03))
    m.anchor("back", (0, waist, -deep), (wide, 0.2, 0.05))
    m.anchor("hand", (wide * 1.1, waist, 0), (0.05, 0.05, 0.05))
    m.anchor("top", top, (wide * 0.7, 0.02, deep * 0.7))


def _car(m: Maker) -> None:
    wide, long, low = m.p(0, 0.22, 0.3), m.p(1, 0.4, 0.52), m.p(2, 0.1, 0.16)
    wheel = m.p(3, 0.1, 0.15)
    y = wheel + low
    m.add("box", (0, y, 0), (wide, low, long), pattern=True)
    cabin = m.p(4, 0.1, 0.17)
    back = m.p(5, -0.15, 0.05)
    if m.who.shape[6] > 0.5:
        m.add("ellipsoid", (0, y + low, back), (wide * 0.86, cabin * 1.7, long * 0.55), m.second, part="head")
    else:
        m.add("box", (0, y + low + cabin, back), (wide * 0.88, cabin, long * 0.45), m.second, part="head")
        m.add(
            "box",
            (0, y + low + cabin, back),
            (wide * 0.9, cabin * 0.6, long * 0.38),
            np.array([0.55, 0.75, 0.85]),
            part="detail",
        )
    _wheels(m, [(s * wide, z * long * 0.62) for s in (-1, 1) for z in (-1, 1)], wheel, 0.05)
    for side in (-1, 1):
        m.add(
            "ellipsoid",
            (side * wide * 0.65, y + low * 0.2, long),
            (0.06, 0.06, 0.03),
            np.array([1.0, 0.95, 0.6]),
            part="face",
        )
        m.add(
            "ellipsoid",
            (side * wide * 0.7, y + low * 0.2, -long),
            (0.05, 0.04, 0.02),
            np.array([0.8, 0.1, 0.1]),
            part="detail",
        )
    m.add("box", (0, y - low * 0.55, long), (wide * 0.95, 0.035, 0.03), m.third, part="detail")
    m.mark((0, y, 0), (wide, low, long), base=0.07)
    roof = y + low + cabin * (1.65 if m.who.shape[6] > 0.5 else 2.0)
    _thing_anchors(m, (0, roof, back), (0, y + low * 0.45, long + 0.05), wide, long, y + low * 0.5)


def _truck(m: Maker) -> None:
    wide, long = m.p(0, 0.22, 0.28), m.p(1, 0.5, 0.62)
    wheel, high = m.p(3, 0.1, 0.14), m.p(2, 0.2, 0.3)
    cab = m.p(4, 0.15, 0.2)
    m.add("box", (0, wheel + 0.06, 0), (wide * 0.9, 0.05, long), BLACK * 4)
    m.add("box", (0, wheel + 0.1 + high, -cab), (wide, high, long - cab), pattern=True)
    m.add(
        "box", (0, wheel + 0.1 + high * 0.75, long - cab + 0.02), (wide * 0.95, high * 0.75, cab), m.second, part="head"
    )
    m.add(
        "box",
        (0, wheel + 0.1 + high * 1.1, long + 0.01),
        (wide * 0.8, high * 0.28, 0.03),
        np.array([0.55, 0.75, 0.85]),
        part="detail",
    )
    for side in (-1, 1):
        m.add(
            "ellipsoid",
            (side * wide * 0.65, wheel + 0.18, long + 0.03),
            (0.05, 0.05, 0.03),
            np.array([1.0, 0.95, 0.6]),
            part="face",
        )
    _wheels(m, [(s * wide, z) for s in (-1, 1) for z in (-long * 0.65, -long * 0.1, long * 0.7)], wheel, 0.05)
    m.mark((0, wheel + 0.1 + high, -cab), (wide, high, long - cab), base=0.08)
    _thing_anchors(
        m,
        (0, wheel + 0.1 + 2 * high, -cab),
        (0, wheel + 0.1 + high * 0.8, long + 0.06),
        wide,
        long,
        wheel + 0.1 + high * 0.8,
    )


def _plane(m: Maker) -> None:
    long, fat = m.p(0, 0.42, 0.55), m.p(1, 0.1, 0.15)
    span, y = m.p(2, 0.4, 0.6), 0.35
    m.add("ellipsoid", (0, y, 0), (fat, fat, long), pattern=True)
    m.add("box", (0, y + m.p(3, -0.05, 0.08), 0.08), (span, 0.02, m.p(4, 0.09, 0.14)), m.second, part="limb")
    m.add("box", (0, y + 0.03, -long * 0.85), (span * 0.4, 0.015, 0.06), m.second, part="limb")
    m.add("box", (0, y + 0.14, -long * 0.85), (0.015, 0.12, 0.07), m.third, part="tail")
    m.add(
        "ellipsoid",
        (0, y + fat * 0.7, long * 0.25),
        (fat * 0.6, fat * 0.6, long * 0.22),
        np.array([0.55, 0.75, 0.88]),
        part="head",
    )
    m.add("cone", (0, y, long), (0.05, 0.06, 0.05), m.third, part="detail", rotation=about("x", math.pi / 2))
    m.add(
        "box",
        (0, y, long + 0.03),
        (0.2, 0.022, 0.012),
        BLACK * 4,
        part="detail",
        rotation=about("z", 0.5 + m.who.shape[5]),
    )
    _wheels(m, [(-fat, 0.15), (fat, 0.15)], 0.07, 0.03)
    for side in (-1, 1):
        m.add("cylinder", (side * fat, 0.18, 0.15), (0.015, 0.12, 0.015), BLACK * 4, part="detail")
    m.mark((0, y, 0), (fat, fat, long * 0.8), base=0.055)
    _thing_anchors(m, (0, y + fat * 1.2, long * 0.2), (0, y + 0.03, long + 0.06), fat * 1.4, fat, y)


def _boat(m: Maker) -> None:
    wide, long, deep = m.p(0, 0.19, 0.27), m.p(1, 0.42, 0.56), m.p(2, 0.12, 0.18)
    m.add("ellipsoid", (0, deep * 1.1, 0), (wide, deep * 1.25, long), pattern=True)
    m.add("box", (0, deep * 1.75, 0), (wide * 0.8, deep * 0.22, long * 0.72), m.third, part="detail")
    mast = m.p(3, 0.32, 0.5)
    if m.who.shape[4] > 0.4:
        m.add("cylinder", (0, deep * 1.9 + mast, 0), (0.022, mast, 0.022), np.array([0.45, 0.3, 0.16]), part="limb")
        m.add(
            "cone",
            (0, deep * 2.2 + mast * 0.95, -0.02),
            (0.015, mast * 0.8, long * m.p(5, 0.42, 0.6)),
            m.second,
            part="head",
            taper=0.05,
        )
        top = deep * 1.9 + 2 * mast
    else:
        m.add("box", (0, deep * 2.3, -long * 0.15), (wide * 0.6, deep * 0.6, long * 0.35), m.second, part="head")
        m.add("cylinder", (0, deep * 3.4, -long * 0.2), (0.07, deep * 0.7, 0.07), m.third, part="detail")
        for side in (-1, 1):
            m.add(
                "ellipsoid",
                (side * wide * 0.6, deep * 2.4, 0),
                (0.02, 0.05, 0.05),
                np.array([0.6, 0.8, 0.9]),
                part="detail",
            )
        top = deep * 4.1
    m.mark((0, deep * 1.1, 0), (wide, deep * 1.2, long), base=0.06)
    _thing_anchors(
        m,
        (0, top, -long * 0.15 if m.who.shape[4] <= 0.4 else 0),
        (0, deep * 1.6, long * 0.92),
        wide * 0.8,
        long * 0.9,
        deep * 1.6,
    )


def _teapot(m: Maker) -> None:
    wide, tall = m.p(0, 0.26, 0.36), m.p(1, 0.2, 0.3)
    m.add("ellipsoid", (0, tall, 0), (wide, tall, wide), pattern=True)
    m.add("cylinder", (0, 0.02, 0), (wide * 0.6, 0.03, wide * 0.6), m.third, part="detail")
    m.add("ellipsoid", (0, tall * 1.88, 0), (wide * 0.5, tall * 0.2, wide * 0.5), m.second, part="head")
    m.add("ellipsoid", (0, tall * 2.1, 0), (0.05, 0.05, 0.05), m.third, part="detail")
    spout = np.array([wide * 0.75, tall * 0.85, 0])
    tip = np.array([wide * m.p(2, 1.35, 1.65), tall * m.p(3, 1.5, 2.0), 0])
    for k in range(6):
        share = k / 5
        r = 0.085 * (1 - share) + 0.04 * share
        m.add("ellipsoid", spout + (tip - spout) * np.array([share, share**1.5, 0]), (r, r, r), m.second, part="limb")
    for k in range(7):
        angle = math.pi * (0.5 + k / 6)
        at = (-wide * 0.85 + 0.20 * math.cos(angle), tall * 1.05 + m.p(4, 0.14, 0.2) * math.sin(angle), 0)
        m.add("ellipsoid", at, (0.042, 0.042, 0.042), m.second, part="limb")
    m.mark((0, tall, 0), (wide, tall, wide), base=0.06)
    _thing_anchors(m, (0, tall * 2.05, 0), (0, tall * 1.25, wide * 1.02), wide, wide, tall * 1.55)


def _mug(m: Maker) -> None:
    wide, tall = m.p(0, 0.2, 0.3), m.p(1, 0.24, 0.36)
    m.add(
        "cone" if m.who.shape[2] > 0.5 else "cylinder",
        (0, tall, 0),
        (wide, tall, wide),
        taper=m.p(3, 0.75, 0.95),
        pattern=True,
    )
    rim = wide * (m.p(3, 0.75, 0.95) if m.who.shape[2] > 0.5 else 1.0)
    m.add("cylinder", (0, 2 * tall, 0), (rim * 0.88, 0.01, rim * 0.88), np.array([0.28, 0.16, 0.09]), part="detail")
    m.add("cylinder", (0, 0.03, 0), (wide * 1.03, 0.03, wide * 1.03), m.second, part="detail")
    for k in range(9):
        angle = math.pi * (k / 8 - 0.5)
        at = (wide * 0.95 + m.p(4, 0.12, 0.18) * math.cos(angle), tall + m.p(5, 0.12, 0.2) * math.sin(angle), 0)
        m.add("ellipsoid", at, (0.04, 0.04, 0.04), m.second, part="limb")
    m.mark((0, tall, 0), (wide * 0.98, tall * 0.8, wide * 0.98), base=0.06)
    _thing_anchors(m, (0, 2 * tall, 0), (0, tall * 1.3, wide * 1.03), wide, wide, tall * 1.6)


def _backpack(m: Maker) -> None:
    wide, tall, deep = m.p(0, 0.22, 0.3), m.p(1, 0.28, 0.38), m.p(2, 0.12, 0.18)
    m.add("box", (0, tall * 0.85, 0), (wide, tall * 0.85, deep), pattern=True)
    m.add("ellipsoid", (0, tall * 1.68, 0), (wide, tall * m.p(3, 0.22, 0.36), deep), part="head", pattern=True)
    m.add("box", (0, tall * 0.55, deep + 0.03), (wide * m.p(4, 0.6, 0.8), tall * 0.38, 0.06), m.second, part="face")
    m.add("box", (0, tall * 0.84, deep + 0.05), (wide * m.p(4, 0.6, 0.8), 0.05, 0.06), m.third, part="detail")
    for side in (-1, 1):
        m.add("ellipsoid", (side * wide, tall * 0.5, 0), (0.07, tall * 0.36, deep * 0.8), m.second, part="limb")
        m.add("box", (side * wide * 0.55, tall, -deep - 0.02), (0.05, tall * 0.7, 0.03), m.third, part="detail")
    for k in range(5):
        angle = math.pi * k / 4
        m.add(
            "ellipsoid",
            (0.08 * math.cos(angle), tall * 2.0 + 0.07 * math.sin(angle) - 0.03, 0),
            (0.03, 0.03, 0.03),
            m.third,
            part="detail",
        )
    m.mark((0, tall * 0.95, 0), (wide, tall * 0.8, deep * 1.05), base=0.06)
    _thing_anchors(m, (0, tall * 1.95, 0), (0, tall * 1.4, deep + 0.06), wide, deep, tall * 1.22)


def _house(m: Maker) -> None:
    wide, tall, deep = m.p(0, 0.26, 0.36), m.p(1, 0.2, 0.3), m.p(2, 0.22, 0.3)
    roof = m.p(3, 0.14, 0.26)
    m.add("box", (0, tall, 0), (wide, tall, deep), pattern=True)
    m.add(
        "cone",
        (0, 2 * tall + roof, 0),
        (wide * 1.55, roof, deep * 1.55),
        m.second,
        part="head",
        taper=m.p(4, 0.02, 0.3),
    )
    m.add("box", (wide * m.p(5, -0.4, 0.4), tall * 0.5, deep), (0.07, tall * 0.5, 0.02), m.third, part="face")
    for side in (-1, 1):
        m.add(
            "box", (side * wide * 0.6, tall * 1.35, deep), (0.06, 0.06, 0.02), np.array([0.7, 0.88, 0.96]), part="face"
        )
        m.add("box", (side * wide, tall * 1.2, 0), (0.02, 0.07, 0.07), np.array([0.7, 0.88, 0.96]), part="face")
    m.add("box", (wide * 0.6, 2 * tall + roof, -deep * 0.3), (0.05, roof, 0.05), m.third, part="detail")
    m.mark((0, tall, 0), (wide, tall, deep), base=0.06)
    _thing_anchors(m, (0, 2 * tall + 2 * roof * 0.93, 0), (0, tall * 1.4, deep + 0.05), wide, deep, tall * 1.8)


def _plant(m: Maker) -> None:
    pot, tall = m.p(0, 0.16, 0.24), m.p(1, 0.14, 0.2)
    m.add("cone", (0, tall, 0), (pot * 0.7, tall, pot * 0.7), part="body", taper=1.0, pattern=True)
    m.add("cylinder", (0, 2 * tall, 0), (pot * 0.82, 0.04, pot * 0.82), m.second, part="detail")
    leaf = np.array([0.14 + 0.1 * m.who.shape[2], 0.42 + 0.25 * m.who.shape[3], 0.16])
    count = int(m.p(4, 4, 8))
    for k in range(count):
        angle, lean = 2 * math.pi * k / count, m.p(5, 0.25, 0.9)
        way = np.array([math.sin(angle) * lean, 1.0, math.cos(angle) * lean])
        way /= np.linalg.norm(way)
        m.add(
            "ellipsoid",
            np.array([0, 2 * tall, 0]) + way * 0.22,
            (0.05, m.p(6, 0.2, 0.28), 0.05),
            leaf,
            part="limb",
            rotation=along(way),
        )
    for k in range(int(m.p(7, 0, 4))):
        angle = 2.1 * k + 6.28 * m.who.shape[8]
        at = (0.15 * math.sin(angle), 2 * tall + 0.42 + 0.05 * k, 0.15 * math.cos(angle))
        m.add("ellipsoid", at, (0.08, 0.06, 0.08), m.third, part="head")
    m.mark((0, tall, 0), (pot * 0.7, tall * 0.8, pot * 0.7), base=0.05)
    _thing_anchors(m, (0, 2 * tall + 0.45, 0), (0, tall * 1.2, pot * 0.8), pot * 0.8, pot * 0.8, tall * 1.4)


def _chair(m: Maker) -> None:
    wide, leg, back = m.p(0, 0.2, 0.28), m.p(1, 0.2, 0.3), m.p(2, 0.25, 0.38)
    m.add("box", (0, 2 * leg, 0), (wide, m.p(3, 0.03, 0.07), wide), pattern=True)
    m.add("box", (0, 2 * leg + back, -wide * 0.9), (wide, back, 0.04), part="head", pattern=True)
    for x, z in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        m.add(
            "cylinder", (x * wide * 0.85, leg, z * wide * 0.85), (m.p(4, 0.02, 0.045), leg, 0.03), m.second, part="limb"
        )
    if m.who.shape[5] > 0.4:
        for side in (-1, 1):
            m.add("box", (side * wide, 2 * leg + 0.2, 0), (0.035, 0.035, wide * 0.9), m.third, part="limb")
            m.add("cylinder", (side * wide, 2 * leg + 0.1, wide * 0.8), (0.03, 0.1, 0.03), m.third, part="limb")
    m.add("ellipsoid", (0, 2 * leg + 0.07, 0.02), (wide * 0.8, m.p(6, 0.03, 0.07), wide * 0.8), m.second, part="detail")
    m.mark((0, 2 * leg + back, -wide * 0.85), (wide * 0.9, back * 0.8, 0.03), base=0.06)
    _thing_anchors(
        m, (0, 2 * leg + 2 * back, -wide * 0.9), (0, 2 * leg + back * 1.3, -wide * 0.82), wide, wide, 2 * leg + back
    )
    m.anchor("top", (0, 2 * leg + 0.08, 0), (wide, 0.02, wide))


def _lamp(m: Maker) -> None:
    foot, pole, shade = m.p(0, 0.14, 0.22), m.p(1, 0.22, 0.32), m.p(2, 0.18, 0.28)
    m.add("cone", (0, 0.05, 0), (foot, 0.05, foot), m.second, part="limb", taper=0.6)
    m.add("cylinder", (0, pole, 0), (m.p(3, 0.02, 0.05), pole, 0.03), m.third, part="limb")
    m.add(
        "cone",
        (0, 2 * pole + shade * 0.5, 0),
        (shade, shade * m.p(4, 0.6, 0.9), shade),
        part="body",
        taper=m.p(5, 0.4, 0.85),
        pattern=True,
    )
    m.add("ellipsoid", (0, pole * m.p(6, 0.6, 1.4), 0), (0.07, 0.07, 0.07), m.third, part="detail")
    m.mark((0, 2 * pole + shade * 0.5, 0), (shade * 0.85, shade * 0.6, shade * 0.85), base=0.05)
    _thing_anchors(
        m,
        (0, 2 * pole + shade * 1.2, 0),
        (0, 2 * pole + shade * 0.5, shade * 0.98),
        shade,
        shade,
        2 * pole + shade * 0.1,
    )


THINGS: dict[str, Callable[[Maker], None]] = {
    "car": _car,
    "truck": _truck,
    "plane": _plane,
    "boat": _boat,
    "teapot": _teapot,
    "mug": _mug,
    "backpack": _backpack,
    "house": _house,
    "plant": _plant,
    "chair": _chair,
    "lamp": _lamp,
}
