"""Toys that are living beings, or look like one."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .making import BLACK, WHITE, Maker, swing
from .shapes import about, along


def _animal(m: Maker, *, slim: float = 1.0, muzzle: float = 0.5, belly: bool = True) -> tuple[np.ndarray, float]:
    """Body, head, limbs and face that animals share; returns the head's centre and radius."""
    wide = m.p(0, 0.17, 0.27) * slim
    tall = m.p(1, 0.20, 0.27)
    head = m.p(2, 0.16, 0.235)
    leg = m.p(3, 0.10, 0.20)
    low = leg * (0.35 if m.pose.sitting else 1.0)
    middle = low + tall * 0.9
    m.add("ellipsoid", (0, middle, 0), (wide, tall, wide * m.p(4, 0.85, 1.0)), pattern=True)
    if belly:
        m.add("ellipsoid", (0, middle - 0.03, wide * 0.28), (wide * 0.68, tall * 0.72, wide * 0.76), m.second)
    center = np.array([0, middle + tall * 0.85 + head * 0.7, 0.03])
    m.add("ellipsoid", center, (head * m.p(5, 0.95, 1.2), head, head), part="head", pattern=True)
    m.add(
        "ellipsoid",
        center + (0, -0.28 * head, head * 0.75),
        (head * 0.42, head * 0.32, head * muzzle),
        m.second,
        part="face",
    )
    m.add(
        "ellipsoid",
        center + (0, -0.14 * head, head * (0.78 + muzzle)),
        (head * 0.15, head * 0.11, head * 0.1),
        BLACK,
        part="face",
    )
    m.eyes(center[1] + 0.22 * head, center[2] + 0.86 * head, head * m.p(6, 0.34, 0.5), head * m.p(7, 0.14, 0.22))
    arm = m.p(8, 0.17, 0.25)
    for side, angle, spread in ((-1, m.pose.left_arm, m.pose.left_spread), (1, m.pose.right_arm, m.pose.right_spread)):
        hand = m.limb(
            (side * wide * 0.85, middle + tall * 0.5, 0),
            swing(angle, side, spread),
            arm,
            m.p(9, 0.055, 0.08),
            pattern=True,
        )
        m.add("ellipsoid", hand, (0.065, 0.065, 0.065), m.third if m.who.shape[10] > 0.5 else m.second, part="limb")
        if side == 1:
            m.anchor("hand", hand, (0.065, 0.065, 0.065))
    for side, angle in ((-1, m.pose.left_leg), (1, m.pose.right_leg)):
        foot = m.limb((side * wide * 0.5, low + 0.06, 0), swing(angle, side, 0.12), leg + 0.02, 0.075, pattern=True)
        m.add("ellipsoid", foot + (0, 0.0, 0.04), (0.075, 0.05, 0.105), m.second, part="limb")
    m.mark((0, middle, 0), (wide, tall, wide), base=0.055)
    m.anchor("head_top", center + (0, head * 0.86, 0), (head * 0.8, head, head * 0.8))
    m.anchor("eyes", (0, center[1] + 0.22 * head, center[2] + head * 1.0), (head * 0.75, head * 0.3, head * 0.3))
    m.anchor("neck", (0, middle + tall * 0.82, 0.02), (wide * 0.82, 0.06, wide * 0.82))
    m.anchor("back", (0, middle + tall * 0.4, -wide * 0.8), (wide, tall, wide * 0.4))
    m.anchor("top", (0, center[1] + head, 0), (head, 0.02, head))
    return center, head


def _cat(m: Maker) -> None:
    center, head = _animal(m, slim=0.85, muzzle=0.32)
    for side in (-1, 1):
        m.add(
            "cone",
            center + (side * head * 0.58, head * 0.95, 0),
            (head * 0.34, head * m.p(11, 0.32, 0.5), head * 0.2),
            part="ear",
        )
    _tail(m, up=1.0, length=m.p(10, 0.25, 0.4), radius=0.045)


def _dog(m: Maker) -> None:
    center, head = _animal(m, muzzle=0.62)
    drop = m.p(11, 0.5, 0.9)
    for side in (-1, 1):
        at = center + (side * head * 1.08, 0.25 * head - drop * head * 0.4, 0)
        m.add(
            "ellipsoid",
            at,
            (head * 0.2, head * drop, head * 0.38),
            m.second,
            part="ear",
            rotation=about("z", side * 0.25),
        )
    _tail(m, up=0.7, length=m.p(10, 0.15, 0.28), radius=0.05)


def _rabbit(m: Maker) -> None:
    center, head = _animal(m, slim=0.9, muzzle=0.3)
    for side in (-1, 1):
        at = center + (side * head * 0.42, head * 1.45, -0.02)
        m.add(
            "ellipsoid",
            at,
            (head * 0.22, head * m.p(11, 0.7, 1.0), head * 0.14),
            part="ear",
            rotation=about("z", -side * 0.16),
        )
    m.add(
        "ellipsoid", (0, m.p(3, 0.10, 0.20) + 0.08, -m.p(0, 0.17, 0.27) * 0.95), (0.07, 0.07, 0.07), WHITE, part="tail"
    )


def _bear(m: Maker) -> None:
    center, head = _animal(m, slim=1.1, muzzle=0.42)
    for side in (-1, 1):
        r = head * m.p(11, 0.3, 0.42)
        m.add("ellipsoid", center + (side * head * 0.75, head * 0.78, 0), (r, r, r * 0.6), part="ear")
        m.add(
            "ellipsoid",
            center + (side * head * 0.75, head * 0.78, r * 0.3),
            (r * 0.6, r * 0.6, r * 0.45),
            m.second,
            part="ear",
        )


def _elephant(m: Maker) -> None:
    center, head = _animal(m, slim=1.15, muzzle=0.2)
    for side in (-1, 1):
        at = center + (side * head * 1.2, 0.1 * head, -0.02)
        m.add(
            "ellipsoid",
            at,
            (head * m.p(11, 0.5, 0.75), head * 0.75, head * 0.12),
            m.second,
            part="ear",
            rotation=about("y", -side * 0.45),
        )
        m.add(
            "cone",
            center + (side * head * 0.4, -0.55 * head, head * 1.0),
            (0.025, 0.09, 0.025),
            WHITE,
            part="face",
            rotation=about("x", 2.2),
        )
    joint = center + (0, -0.2 * head, head * 0.9)
    for k in range(4):
        m.add(
            "ellipsoid",
            joint + (0, -0.075 * k, 0.05 + 0.012 * k * k),
            (0.055 - 0.006 * k, 0.06, 0.055 - 0.006 * k),
            part="face",
        )


def _penguin(m: Maker) -> None:
    center, head = _animal(m, slim=1.05, muzzle=0.2)
    m.add(
        "cone",
        center + (0, -0.15 * head, head * 1.15),
        (head * 0.22, head * m.p(11, 0.25, 0.45), head * 0.16),
        np.array([0.96, 0.6, 0.1]),
        part="face",
        rotation=about("x", math.pi / 2),
    )
    _tail(m, up=-0.3, length=0.12, radius=0.06)


def _tail(m: Maker, *, up: float, length: float, radius: float) -> None:
    start = np.array([0, m.p(3, 0.10, 0.20) + 0.08, -m.p(0, 0.17, 0.27) * 0.7])
    way = np.array([0.25, up, -0.8])
    way = way / np.linalg.norm(way)
    m.add(
        "ellipsoid",
        start + way * length * 0.6,
        (radius, length * 0.65, radius),
        m.first,
        part="tail",
        rotation=along(way),
        pattern=True,
    )


def _robot(m: Maker) -> None:
    wide, tall, head = m.p(0, 0.15, 0.25), m.p(1, 0.17, 0.25), m.p(2, 0.12, 0.18)
    leg = m.p(3, 0.10, 0.2)
    low = leg * (0.3 if m.pose.sitting else 1.0)
    middle = low + tall
    m.add("box", (0, middle, 0), (wide, tall, wide * 0.7), pattern=True)
    m.add("box", (0, middle + tall * 0.1, wide * 0.7), (wide * 0.5, tall * 0.35, 0.015), m.third, part="detail")
    center = np.array([0, middle + tall + head * 1.1, 0])
    if m.who.shape[4] > 0.35:
        m.add("box", center, (head * m.p(5, 1.0, 1.3), head * 0.9, head * 0.9), m.second, part="head")
    else:
        m.add("cylinder", center, (head * 1.1, head * 0.9, head), m.second, part="head")
    m.add("cylinder", center + (0, -head, 0), (head * 0.4, head * 0.3, head * 0.4), BLACK * 4, part="detail")
    eye = head * m.p(7, 0.22, 0.34)
    for side in (-1, 1):
        m.add(
            "ellipsoid",
            center + (side * head * 0.45, head * 0.2, head * 0.92),
            (eye, eye, eye * 0.6),
            np.array([1.0, 0.92, 0.35]),
            part="face",
        )
        m.add(
            "ellipsoid",
            center + (side * head * 0.45, head * 0.2, head * 0.92 + eye * 0.5),
            (eye * 0.4,) * 3,
            BLACK,
            part="face",
        )
    m.add("box", center + (0, -head * 0.4, head * 0.95), (head * 0.5, head * 0.1, 0.02), BLACK, part="face")
    if m.who.shape[6] > 0.3:
        m.add("cylinder", center + (0, head * 1.2, 0), (0.015, head * 0.4, 0.015), BLACK * 4, part="detail")
        m.add("ellipsoid", center + (0, head * 1.6, 0), (0.04, 0.04, 0.04), m.third, part="detail")
    for side, angle, spread in ((-1, m.pose.left_arm, m.pose.left_spread), (1, m.pose.right_arm, m.pose.right_spread)):
        hand = m.limb(
            (side * (wide + 0.03), middle + tall * 0.7, 0),
            swing(angle, side, spread * 0.6),
            m.p(8, 0.2, 0.3),
            0.045,
            kind="cylinder",
        )
        m.add("ellipsoid", hand, (0.06, 0.06, 0.06), m.third, part="limb")
        if side == 1:
            m.anchor("hand", hand, (0.06, 0.06, 0.06))
    for side, angle in ((-1, m.pose.left_leg), (1, m.pose.right_leg)):
        foot = m.limb((side * wide * 0.5, low + 0.02, 0), swing(angle, side, 0.02), leg, 0.06, kind="cylinder")
        m.add("box", foot + (0, 0.015, 0.04), (0.075, 0.04, 0.11), m.third, part="limb")
    m.mark((0, middle, 0), (wide, tall, wide * 0.72), base=0.05)
    m.anchor("head_top", center + (0, head * 0.85, 0), (head * 0.9, head, head * 0.9))
    m.anchor("eyes", center + (0, head * 0.2, head * 1.12), (head * 0.8, head * 0.32, head * 0.3))
    m.anchor("neck", (0, middle + tall * 0.98, 0), (wide * 0.95, 0.05, wide * 0.75))
    m.anchor("back", (0, middle, -wide * 0.75), (wide, tall, wide * 0.3))
    m.anchor("top", center + (0, head, 0), (head, 0.02, head))


def _gnome(m: Maker) -> None:
    wide, tall = m.p(0, 0.18, 0.26), m.p(1, 0.18, 0.24)
    head = m.p(2, 0.13, 0.17)
    low = 0.05 if m.pose.sitting else m.p(3, 0.08, 0.14)
    middle = low + tall
    skin = np.array([0.93, 0.74, 0.60]) - 0.12 * m.who.shape[4]
    m.add("cone", (0, middle, 0), (wide, tall, wide), taper=0.6, pattern=True)
    m.add("cylinder", (0, middle - tall * 0.15, 0), (wide * 0.9, 0.03, wide * 0.9), BLACK * 3, part="detail")
    center = np.array([0, middle + tall + head * 0.6, 0.0])
    m.add("ellipsoid", center, (head, head, head), skin, part="head")
    m.add(
        "ellipsoid",
        center + (0, -head * 0.55, head * 0.45),
        (head * 0.85, head * m.p(5, 0.6, 1.0), head * 0.6),
        WHITE * m.p(6, 0.6, 1.0),
        part="face",
    )
    m.add("ellipsoid", center + (0, 0, head * 1.0), (head * 0.25,) * 3, skin * np.array([1.0, 0.8, 0.8]), part="face")
    m.eyes(center[1] + 0.3 * head, head * 0.85, head * 0.38, head * 0.15)
    m.add(
        "cone",
        center + (0, head * 0.5 + m.p(11, 0.16, 0.28), -0.02),
        (head * 1.05, m.p(11, 0.16, 0.28), head * 1.05),
        m.second,
        part="detail",
        taper=0.05,
    )
    for side, angle, spread in ((-1, m.pose.left_arm, m.pose.left_spread), (1, m.pose.right_arm, m.pose.right_spread)):
        hand = m.limb((side * wide * 0.62, middle + tall * 0.6, 0), swing(angle, side, spread), 0.2, 0.06, pattern=True)
        m.add("ellipsoid", hand, (0.055,) * 3, skin, part="limb")
        if side == 1:
            m.anchor("hand", hand, (0.055,) * 3)
    for side, angle in ((-1, m.pose.left_leg), (1, m.pose.right_leg)):
        foot = m.limb((side * wide * 0.45, low + 0.03, 0), swing(angle, side, 0.05), 0.09, 0.07)
        m.add("ellipsoid", foot + (0, 0.0, 0.05), (0.08, 0.05, 0.12), m.third, part="limb")
    m.mark((0, middle, 0), (wide * 0.85, tall, wide * 0.85), base=0.045)
    m.anchor("head_top", center + (0, head * 0.9, 0), (head, head, head))
    m.anchor("eyes", center + (0, 0.3 * head, head * 1.05), (head * 0.8, head * 0.3, head * 0.3))
    m.anchor("neck", (0, middle + tall * 0.95, 0), (wide * 0.65, 0.05, wide * 0.65))
    m.anchor("back", (0, middle + tall * 0.2, -wide * 0.8), (wide, tall, wide * 0.3))
    m.anchor("top", center + (0, head + 0.4, 0), (head * 0.3, 0.02, head * 0.3))


BEINGS: dict[str, Callable[[Maker], None]] = {
    "cat": _cat,
    "dog": _dog,
    "rabbit": _rabbit,
    "bear": _bear,
    "elephant": _elephant,
    "penguin": _penguin,
    "robot": _robot,
    "gnome": _gnome,
}
