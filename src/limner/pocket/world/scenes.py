"""Places: ground, sky, light and props, each a function of a name, the time of day and a seed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from .shapes import Scenery, Solid, about, moved, placed

GROUNDS = ("flat", "tiles", "planks", "waves", "dunes", "grass", "road", "craters", "leaves", "carpet", "paving")
HORIZONS = ("none", "sea", "hills", "skyline", "trees", "wall", "mountains", "stars", "bedroom wall", "moonlit")
INDOORS = ("kitchen", "bedroom", "studio")


# -------------------------------------------------------------------------------------------- colours of ground and sky


def ground_colour(pattern: Tensor, at: Tensor, first: Tensor, second: Tensor, phase: Tensor) -> Tensor:
    """sRGB [N, 3] of ground points `at` [N, 2] (x, z); pattern [N] indexes GROUNDS, first and second [N, 3]."""
    colour = first.clone()
    for code, name in enumerate(GROUNDS):
        chosen = (pattern == code).nonzero()[:, 0] if name != "flat" else ()
        if len(chosen):
            x, z = at[chosen].unbind(-1)
            share = _GROUND[name](x, z, phase[chosen])[:, None]
            colour[chosen] = first[chosen] * (1 - share) + second[chosen] * share
    return colour


def _wave(x: Tensor, z: Tensor, phase: Tensor, frequency: float) -> Tensor:
    """A smooth bumpy field in [0, 1]."""
    x, z = x * frequency, z * frequency
    field = torch.sin(x + phase) + torch.sin(0.8 * z - x * 0.6 + 2 * phase) + torch.sin(1.7 * z + 0.5 * x)
    return 0.5 + field / 6


def _tiles(x: Tensor, z: Tensor, phase: Tensor) -> Tensor:
    return (torch.floor(x * 1.6) + torch.floor(z * 1.6)) % 2


def _planks(x: Tensor, z: Tensor, phase: Tensor) -> Tensor:
    gap = ((x * 2.2) % 1 < 0.06).float()
    return torch.maximum(gap, 0.35 * (torch.floor(x * 2.2) % 3) / 2)


def _waves(x: Tensor, z: Tensor, phase: Tensor) -> Tensor:
    crest = torch.sin(3.1 * z + 1.2 * torch.sin(1.1 * x + phase) + phase) * torch.sin(1.7 * x + 0.9 * z)
    return (crest > 0.62).float() * 0.8 + 0.2 * _wave(x, z, phase, 0.7)


def _dunes(x: Tensor, z: Tensor, phase: Tensor) -> Tensor:
    return 0.7 * _wave(x, z, phase, 0.9) * (0.6 + 0.4 * torch.sin(6 * z + 2 * torch.sin(0.8 * x + phase)))


def _grass(x: Tensor, z: Tensor, phase: Tensor) -> Tensor:
    tufts = (torch.sin(13 * x + phase) * torch.sin(9 * z + 2 * x) > 0.55).float()
    return 0.55 * _wave(x, z, phase, 1.3) + 0.4 * tufts


def _road(x: Tensor, z: Tensor, phase: Tensor) -> Tensor:
    """1 on the verge; the road itself runs towards the horizon and has a broken middle line."""
    return (x.abs() > 1.5).float() + ((x.abs() < 0.06) & ((z * 0.7 + phase) % 1 < 0.55)).float() * 0.9


def _craters(x: Tensor, z: Tensor, phase: Tensor) -> Tensor:
    u, v = (x * 0.9 + phase) % 1 - 0.5, (z * 0.7 + 0.3 * torch.floor(x * 0.9 + phase)) % 1 - 0.5
    radius = (u * u + v * v).sqrt()
    return ((radius < 0.3) & (radius > 0.06)).float() * (0.5 + 0.5 * (radius > 0.25)) + 0.2 * _wave(x, z, phase, 2.0)


def _leaves(x: Tensor, z: Tensor, phase: Tensor) -> Tensor:
    return (torch.sin(11 * x + 3 * torch.sin(4 * z) + phase) * torch.sin(10 * z + 2 * torch.sin(5 * x)) > 0.25).float()


def _carpet(x: Tensor, z: Tensor, phase: Tensor) -> Tensor:
    radius = (x * x + z * z).sqrt()
    return (radius < 1.9).float() * (0.75 + 0.25 * ((radius * 3) % 1 < 0.5))


def _paving(x: Tensor, z: Tensor, phase: Tensor) -> Tensor:
    row = torch.floor(z * 1.3)
    joint = ((z * 1.3) % 1 < 0.06) | ((x * 0.9 + 0.5 * (row % 2)) % 1 < 0.05)
    return joint.float() * 0.8


_GROUND: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "tiles": _tiles,
    "planks": _planks,
    "waves": _waves,
    "dunes": _dunes,
    "grass": _grass,
    "road": _road,
    "craters": _craters,
    "leaves": _leaves,
    "carpet": _carpet,
    "paving": _paving,
}


def sky_colour(
    horizon: Tensor, direction: Tensor, top: Tensor, bottom: Tensor, backdrop: Tensor, phase: Tensor
) -> Tensor:
    """sRGB [N, 3] seen along unit directions [N, 3]: a gradient, and in front of it what stands on the horizon."""
    up = direction[:, 1].clamp(-1, 1)
    share = up.clamp(0, 0.6)[:, None] / 0.6
    colour = bottom * (1 - share) + top * share
    for code, name in enumerate(HORIZONS):
        chosen = (horizon == code).nonzero()[:, 0] if name != "none" else ()
        if len(chosen):
            d = direction[chosen]
            around = torch.atan2(d[:, 0], -d[:, 2])
            colour[chosen] = _HORIZON[name](around, up[chosen], colour[chosen], backdrop[chosen], phase[chosen])
    return colour


def _over(colour: Tensor, paint: Tensor, on: Tensor) -> Tensor:
    return torch.where(on[:, None], paint, colour)


def _sea(around: Tensor, up: Tensor, colour: Tensor, backdrop: Tensor, phase: Tensor) -> Tensor:
    cloud = torch.sin(9 * around + phase) + torch.sin(40 * (up - 0.16) + 3 * torch.sin(5 * around)) > 1.35
    return _over(colour, colour * 0.25 + 0.75, cloud & (up > 0.1))


def _hills(around: Tensor, up: Tensor, colour: Tensor, backdrop: Tensor, phase: Tensor) -> Tensor:
    far = up < 0.07 + 0.05 * torch.sin(5 * around + phase)
    near = up < 0.035 + 0.03 * torch.sin(8 * around + 2 * phase)
    return _over(_over(_sea(around, up, colour, backdrop, phase), backdrop * 0.75 + 0.15, far), backdrop, near)


def _skyline(around: Tensor, up: Tensor, colour: Tensor, backdrop: Tensor, phase: Tensor) -> Tensor:
    block = torch.floor(around * 11 + phase)
    height = 0.10 + 0.16 * torch.frac((torch.sin(block * 12.9898) * 43.5453).abs())
    shade = 0.8 + 0.35 * torch.frac((torch.sin(block * 78.233) * 12.543).abs())
    window = (torch.frac(around * 44 + 4 * phase) > 0.45) & (torch.frac(up * 34) > 0.5)
    paint = backdrop * shade[:, None]
    paint = _over(paint, paint * 0.5 + torch.tensor([0.5, 0.45, 0.25], device=up.device), window & (up < height - 0.02))
    return _over(colour, paint, up < height)


def _trees(around: Tensor, up: Tensor, colour: Tensor, backdrop: Tensor, phase: Tensor) -> Tensor:
    crown = 0.26 + 0.05 * torch.sin(14 * around + phase) + 0.04 * torch.sin(33 * around)
    leaf = torch.sin(38 * around + 3 * torch.sin(26 * up) + phase) * torch.sin(44 * up + 2 * torch.sin(19 * around))
    trunk = (torch.frac(around * 7 + phase) < 0.16) & (up < 0.12)
    paint = backdrop * (0.9 + 0.3 * leaf[:, None])
    paint = _over(paint, torch.tensor([0.30, 0.20, 0.12], device=up.device).expand_as(paint), trunk)
    return _over(colour, paint, up < crown)


def _wall(around: Tensor, up: Tensor, colour: Tensor, backdrop: Tensor, phase: Tensor) -> Tensor:
    joint = (torch.frac(around * 9) < 0.06) | (torch.frac(up * 11) < 0.08)
    colour = _over(backdrop, backdrop * 0.82, joint)
    return _window(around, up, colour, phase)


def _bedroom_wall(around: Tensor, up: Tensor, colour: Tensor, backdrop: Tensor, phase: Tensor) -> Tensor:
    stripe = torch.frac(around * 8) < 0.5
    return _window(around, up, _over(backdrop, backdrop * 0.9, stripe), phase)


def _window(around: Tensor, up: Tensor, colour: Tensor, phase: Tensor) -> Tensor:
    x, y = (around - 0.35 * torch.sin(phase)).abs() / 0.13, (up - 0.24).abs() / 0.11
    pane, frame = torch.maximum(x, y) < 0.86, torch.maximum(x, y) < 1
    sky = torch.tensor([0.62, 0.82, 0.96], device=up.device).expand_as(colour)
    white = torch.ones_like(colour)
    return _over(_over(colour, white, frame), sky, pane & (torch.minimum(x, y) > 0.08))


def _mountains(around: Tensor, up: Tensor, colour: Tensor, backdrop: Tensor, phase: Tensor) -> Tensor:
    def zigzag(x: Tensor) -> Tensor:
        return (torch.frac(x) - 0.5).abs() * 2

    height = 0.06 + 0.13 * zigzag(around * 1.9 + phase) + 0.05 * zigzag(around * 5.3 + 2 * phase)
    snow = up > 0.55 * height + 0.03 + 0.02 * torch.sin(40 * around)
    paint = _over(backdrop, torch.full_like(backdrop, 0.95), snow)
    return _over(colour, paint, up < height)


def _stars(around: Tensor, up: Tensor, colour: Tensor, backdrop: Tensor, phase: Tensor) -> Tensor:
    u, v = around * 14, up * 16
    cell = torch.floor(u) * 17.31 + torch.floor(v) * 7.77 + torch.floor(phase)
    jitter = torch.frac((torch.sin(cell * 12.9898) * 43758.5).abs())
    x, y = torch.frac(u) - 0.25 - 0.5 * jitter, torch.frac(v) - 0.25 - 0.5 * torch.frac(jitter * 7)
    star = (x * x + y * y).sqrt() < 0.05 + 0.12 * torch.frac(jitter * 13)
    return _over(colour, torch.tensor([1.0, 1.0, 0.9], device=up.device).expand_as(colour), star)


def _moonlit(around: Tensor, up: Tensor, colour: Tensor, backdrop: Tensor, phase: Tensor) -> Tensor:
    colour = _stars(around, up, colour, backdrop, phase)
    x, y = around - 0.28 * torch.sin(phase), up - 0.27
    disc, bite = (x * x + y * y).sqrt() < 0.062, ((x - 0.03) ** 2 + (y - 0.02) ** 2).sqrt() < 0.052
    moon = torch.tensor([0.98, 0.95, 0.75], device=up.device).expand_as(colour)
    hill = up < 0.03 + 0.02 * torch.sin(6 * around + phase)
    return _over(_over(colour, moon, disc & ~bite), backdrop, hill)


_HORIZON: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "sea": _sea,
    "hills": _hills,
    "skyline": _skyline,
    "trees": _trees,
    "wall": _wall,
    "mountains": _mountains,
    "stars": _stars,
    "bedroom wall": _bedroom_wall,
    "moonlit": _moonlit,
}


# ---------------------------------------------------------------------------------------------------------------- props


def _solid(
    kind: str,
    at: tuple[float, float, float],
    size: tuple[float, float, float],
    colour: tuple[float, float, float],
    *,
    tilt: tuple[str, float] | None = None,
    taper: float = 0.0,
    material: str = "matte",
    pattern: str = "plain",
    second: tuple[float, float, float] = (1, 1, 1),
) -> Solid:
    return Solid(
        kind, np.array(at, float), about(*tilt) if tilt else np.eye(3), np.array(size, float), np.array(colour, float),
        taper=taper, material=material, pattern=pattern, pattern_colour=np.array(second, float),
    )  # fmt: skip


def _palm(rng: np.random.Generator) -> list[Solid]:
    trunk = [
        _solid("cylinder", (0.04 * k * k, 0.3 + 0.55 * k, 0), (0.1, 0.32, 0.1), (0.5, 0.36, 0.2), tilt=("z", -0.09 * k))
        for k in range(4)
    ]
    top = (0.5, 2.35, 0.0)
    leaves = []
    for k in range(7):
        angle = 2 * math.pi * k / 7
        leaf = _solid("ellipsoid", (0.55, -0.12, 0), (0.6, 0.05, 0.16), (0.16, 0.5, 0.18), tilt=("z", -0.35))
        leaves += moved([leaf], placed(at=top, turn=angle))
    return trunk + leaves


def _fir(rng: np.random.Generator) -> list[Solid]:
    green = (0.10, 0.36 + 0.1 * rng.random(), 0.22)
    trunk = [_solid("cylinder", (0, 0.2, 0), (0.1, 0.2, 0.1), (0.38, 0.25, 0.14))]
    return trunk + [
        _solid("cone", (0, 0.75 + 0.5 * k, 0), (0.62 - 0.15 * k, 0.42, 0.62 - 0.15 * k), green) for k in range(3)
    ]


def _snowy_fir(rng: np.random.Generator) -> list[Solid]:
    return [*_fir(rng), _solid("cone", (0, 1.95, 0), (0.24, 0.2, 0.24), (0.95, 0.96, 1.0))]


def _snowman(rng: np.random.Generator) -> list[Solid]:
    white, coal = (0.95, 0.96, 1.0), (0.1, 0.1, 0.1)
    balls = [_solid("ellipsoid", (0, y, 0), (r, r, r), white) for y, r in ((0.4, 0.45), (1.0, 0.32), (1.45, 0.22))]
    nose = _solid("cone", (0, 1.45, 0.3), (0.05, 0.14, 0.05), (0.95, 0.5, 0.1), tilt=("x", math.pi / 2))
    return [*balls, nose, *(_solid("ellipsoid", (x, 1.53, 0.19), (0.04,) * 3, coal) for x in (-0.08, 0.08))]


def _round_tree(leaf: tuple[float, float, float]) -> Callable[[np.random.Generator], list[Solid]]:
    def build(rng: np.random.Generator) -> list[Solid]:
        colour = tuple(np.clip(np.array(leaf) + 0.08 * rng.standard_normal(3), 0, 1))
        crown = [
            _solid("ellipsoid", (x, y, z), (r, r * 0.9, r), colour)
            for x, y, z, r in ((0, 1.75, 0, 0.75), (0.4, 1.5, 0.2, 0.5), (-0.45, 1.55, 0.1, 0.5))
        ]
        return [_solid("cylinder", (0, 0.55, 0), (0.13, 0.55, 0.13), (0.36, 0.24, 0.15)), *crown]

    return build


def _bush(rng: np.random.Generator) -> list[Solid]:
    green = (0.10 + 0.1 * rng.random(), 0.36 + 0.2 * rng.random(), 0.14)
    return [_solid("ellipsoid", (0.3 * k, 0.25, 0), (0.35, 0.4 - 0.08 * k, 0.3), green) for k in range(3)]


def _fern(rng: np.random.Generator) -> list[Solid]:
    leaf = _solid(
        "ellipsoid", (0.35, 0.35, 0), (0.5, 0.05, 0.13), (0.12, 0.45 + 0.2 * rng.random(), 0.16), tilt=("z", 0.75)
    )
    return [s for k in range(6) for s in moved([leaf], placed(turn=k * math.pi / 3))]


def _building(rng: np.random.Generator) -> list[Solid]:
    wall = tuple(0.35 + 0.4 * rng.random(3) * np.array([1, 0.9, 0.85]))
    height = 1.6 + 1.8 * rng.random()
    body = _solid("box", (0, height, 0), (0.75, height, 0.6), wall)
    rows = [
        _solid("box", (0, y, 0.6), (0.6, 0.13, 0.02), (0.62, 0.78, 0.9), material="matte")
        for y in np.arange(0.5, 2 * height - 0.3, 0.55)
    ]
    return [body, *rows[:6]]


def _cactus(rng: np.random.Generator) -> list[Solid]:
    green = (0.2, 0.5, 0.24)
    trunk = [
        _solid("cylinder", (0, 0.65, 0), (0.16, 0.65, 0.16), green),
        _solid("ellipsoid", (0, 1.3, 0), (0.16, 0.16, 0.16), green),
    ]
    arms = []
    for side, y in ((1, 0.6), (-1, 0.85)):
        arms.append(_solid("cylinder", (side * 0.24, y, 0), (0.09, 0.16, 0.09), green, tilt=("z", math.pi / 2)))
        arms.append(_solid("ellipsoid", (side * 0.4, y + 0.22, 0), (0.1, 0.3, 0.1), green))
    return trunk + arms


def _rock(colour: tuple[float, float, float]) -> Callable[[np.random.Generator], list[Solid]]:
    def build(rng: np.random.Generator) -> list[Solid]:
        a, b, c = 0.25 + 0.3 * rng.random(3)
        return [
            _solid("ellipsoid", (0, 0.1, 0), (a, b * 0.8, c), colour),
            _solid("ellipsoid", (0.3, 0.05, 0.1), (a * 0.6, b * 0.5, c * 0.6), colour),
        ]

    return build


def _umbrella(rng: np.random.Generator) -> list[Solid]:
    colour = tuple(0.3 + 0.7 * rng.random(3))
    pole = _solid("cylinder", (0, 0.8, 0), (0.04, 0.8, 0.04), (0.9, 0.9, 0.9))
    return [pole, _solid("cone", (0, 1.65, 0), (0.85, 0.22, 0.85), colour, taper=0.05, pattern="striped")]


def _cupboard(rng: np.random.Generator) -> list[Solid]:
    wood = (0.78, 0.62, 0.42)
    body = [
        _solid("box", (0, 0.55, 0), (0.9, 0.55, 0.4), wood),
        _solid("box", (0, 1.14, 0), (0.96, 0.05, 0.45), (0.92, 0.92, 0.9)),
    ]
    doors = [_solid("box", (x, 0.55, 0.41), (0.38, 0.42, 0.02), (0.86, 0.72, 0.52)) for x in (-0.43, 0.43)]
    pot = [_solid("cylinder", (0.4, 1.32, 0), (0.2, 0.14, 0.2), (0.75, 0.2, 0.15), material="plastic")]
    return body + doors + pot


def _stove(rng: np.random.Generator) -> list[Solid]:
    body = _solid("box", (0, 0.6, 0), (0.55, 0.6, 0.4), (0.88, 0.88, 0.9))
    oven = _solid("box", (0, 0.5, 0.41), (0.4, 0.28, 0.02), (0.15, 0.15, 0.18))
    return [body, oven, _solid("cylinder", (-0.2, 1.3, 0), (0.2, 0.12, 0.2), (0.3, 0.32, 0.36), material="metal")]


def _bed(rng: np.random.Generator) -> list[Solid]:
    cover = tuple(0.3 + 0.6 * rng.random(3))
    frame = _solid("box", (0, 0.2, 0), (1.0, 0.2, 0.7), (0.5, 0.33, 0.2))
    top = [
        _solid("box", (0, 0.47, 0), (0.95, 0.1, 0.66), cover),
        _solid("box", (-1.0, 0.6, 0), (0.06, 0.6, 0.7), (0.5, 0.33, 0.2)),
    ]
    return [frame, *top, _solid("ellipsoid", (-0.7, 0.62, 0), (0.25, 0.12, 0.45), (0.96, 0.96, 0.96))]


def _flowers(rng: np.random.Generator) -> list[Solid]:
    colour = tuple(
        np.array([(0.95, 0.3, 0.35), (0.98, 0.85, 0.2), (0.95, 0.95, 0.98), (0.75, 0.4, 0.85)])[rng.integers(4)]
    )
    at = rng.uniform(-0.5, 0.5, (5, 2))
    return [
        s
        for x, z in at
        for s in (
            _solid("cylinder", (x, 0.12, z), (0.02, 0.12, 0.02), (0.2, 0.5, 0.2)),
            _solid("ellipsoid", (x, 0.28, z), (0.09, 0.06, 0.09), colour),
        )
    ]


def _island(rng: np.random.Generator) -> list[Solid]:
    return [_solid("ellipsoid", (0, 0, 0), (1.2, 0.25, 0.8), (0.9, 0.8, 0.55)), *_palm(rng)]


def _buoy(rng: np.random.Generator) -> list[Solid]:
    return [
        _solid("cone", (0, 0.3, 0), (0.3, 0.35, 0.3), (0.9, 0.2, 0.15), taper=0.3),
        _solid("cylinder", (0, 0.72, 0), (0.05, 0.1, 0.05), (0.95, 0.95, 0.95)),
    ]


def _signpost(rng: np.random.Generator) -> list[Solid]:
    pole = _solid("cylinder", (0, 0.6, 0), (0.05, 0.6, 0.05), (0.6, 0.6, 0.62))
    return [pole, _solid("cylinder", (0, 1.3, 0), (0.28, 0.03, 0.28), (0.85, 0.15, 0.15), tilt=("x", math.pi / 2))]


def _lamp_post(rng: np.random.Generator) -> list[Solid]:
    return [
        _solid("cylinder", (0, 0.9, 0), (0.05, 0.9, 0.05), (0.2, 0.22, 0.25)),
        _solid("ellipsoid", (0, 1.9, 0), (0.16, 0.16, 0.16), (1.0, 0.93, 0.7), material="glow"),
    ]


def _flag(rng: np.random.Generator) -> list[Solid]:
    pole = _solid("cylinder", (0, 0.7, 0), (0.03, 0.7, 0.03), (0.8, 0.8, 0.8))
    return [pole, _solid("box", (0.35, 1.2, 0), (0.33, 0.2, 0.02), tuple(0.2 + 0.8 * rng.random(3)))]


# ----------------------------------------------------------------------------------------------------------- the places

Prop: TypeAlias = "Callable[[np.random.Generator], list[Solid]]"
RGB: TypeAlias = "tuple[float, float, float]"

_BLUE: tuple[RGB, RGB] = ((0.30, 0.58, 0.92), (0.76, 0.90, 0.98))
_PLACES: dict[str, tuple[tuple[RGB, RGB], RGB, RGB, str, str, RGB, tuple[Prop, ...], int]] = {
    # name: (sky top and bottom, ground, second, ground pattern, horizon, backdrop, props, how many)
    "beach": (_BLUE, (0.93, 0.83, 0.58), (0.84, 0.71, 0.45), "dunes", "sea", (0.1, 0.4, 0.7), (_palm, _palm, _umbrella), 2),
    "snow": (((0.58, 0.70, 0.86), (0.88, 0.92, 0.97)), (0.95, 0.96, 1.0), (0.80, 0.86, 0.96), "dunes", "mountains", (0.50, 0.56, 0.68), (_snowy_fir, _snowy_fir, _snowman), 3),
    "jungle": (((0.30, 0.55, 0.35), (0.62, 0.78, 0.52)), (0.16, 0.34, 0.12), (0.30, 0.48, 0.14), "grass", "trees", (0.09, 0.34, 0.13), (_fern, _palm, _bush), 5),
    "city": (((0.48, 0.60, 0.78), (0.82, 0.85, 0.88)), (0.58, 0.58, 0.60), (0.36, 0.36, 0.40), "paving", "skyline", (0.46, 0.48, 0.55), (_building, _building, _lamp_post), 4),
    "desert": (((0.52, 0.66, 0.88), (0.99, 0.86, 0.66)), (0.90, 0.58, 0.30), (0.74, 0.42, 0.20), "dunes", "hills", (0.84, 0.52, 0.28), (_cactus, _cactus, _rock((0.62, 0.36, 0.22))), 3),
    "night sky": (((0.02, 0.02, 0.10), (0.10, 0.10, 0.30)), (0.13, 0.16, 0.27), (0.08, 0.10, 0.20), "grass", "moonlit", (0.04, 0.06, 0.13), (_bush,), 1),
    "kitchen": (((0.9, 0.9, 0.9), (0.9, 0.9, 0.9)), (0.92, 0.90, 0.86), (0.42, 0.50, 0.52), "tiles", "wall", (0.93, 0.88, 0.74), (_cupboard, _stove, _cupboard), 2),
    "meadow": (_BLUE, (0.42, 0.70, 0.24), (0.58, 0.80, 0.30), "grass", "hills", (0.34, 0.60, 0.26), (_flowers, _flowers, _round_tree((0.25, 0.55, 0.2))), 5),
    "road": (_BLUE, (0.30, 0.30, 0.33), (0.46, 0.64, 0.28), "road", "hills", (0.36, 0.58, 0.30), (_signpost, _round_tree((0.3, 0.55, 0.2))), 2),
    "sea": (_BLUE, (0.08, 0.34, 0.66), (0.55, 0.78, 0.92), "waves", "sea", (0.1, 0.4, 0.7), (_island, _buoy), 1),
    "studio": (((0.75, 0.75, 0.78), (0.75, 0.75, 0.78)), (0.75, 0.75, 0.78), (0.7, 0.7, 0.7), "flat", "none", (0.7, 0.7, 0.7), (), 0),
    "moon": (((0.0, 0.0, 0.02), (0.03, 0.03, 0.06)), (0.64, 0.64, 0.67), (0.44, 0.44, 0.47), "craters", "stars", (0.3, 0.3, 0.3), (_rock((0.52, 0.52, 0.55)), _flag), 2),
    "autumn forest": (((0.66, 0.72, 0.80), (0.95, 0.88, 0.74)), (0.55, 0.33, 0.14), (0.90, 0.56, 0.14), "leaves", "trees", (0.76, 0.38, 0.12), (_round_tree((0.90, 0.45, 0.10)), _round_tree((0.80, 0.25, 0.12))), 3),
    "bedroom": (((0.8, 0.8, 0.85), (0.8, 0.8, 0.85)), (0.66, 0.46, 0.30), (0.78, 0.42, 0.50), "carpet", "bedroom wall", (0.68, 0.76, 0.90), (_bed, _lamp_post), 2),
}  # fmt: skip

_LIGHTS: dict[str, tuple[float, RGB, RGB, RGB, float]] = {
    # time of day: (height of the sun in radians, sunlight, ambient, tint of the sky, share of the tint)
    "noon": (1.0, (0.88, 0.86, 0.80), (0.34, 0.36, 0.40), (1, 1, 1), 0.0),
    "morning": (0.55, (0.92, 0.80, 0.62), (0.30, 0.34, 0.42), (1.0, 0.88, 0.72), 0.35),
    "sunset": (0.35, (1.0, 0.56, 0.28), (0.30, 0.24, 0.30), (1.0, 0.50, 0.28), 0.60),
    "night": (0.8, (0.42, 0.46, 0.62), (0.24, 0.26, 0.36), (0.03, 0.05, 0.16), 0.88),
}


def scenery(name: str, *, daytime: str = "noon", seed: int = 0) -> Scenery:
    """A place at a time of day. The seed scatters its props and shades its colours a little."""
    rng = np.random.default_rng((seed, 17))
    sky, ground, second, pattern, horizon, backdrop, props, count = _PLACES[name]
    height, sunlight, ambient, tint, share = _LIGHTS["night" if name == "night sky" else daytime]
    indoors = name in INDOORS
    dim = {"noon": 1.0, "morning": 0.95, "sunset": 0.85, "night": 0.45}[daytime] if indoors else 1.0
    azimuth = rng.uniform(-1.1, 1.1) + (math.pi if rng.random() < 0.25 else 0)
    tones = [np.clip(np.array(c) * rng.uniform(0.93, 1.07, 3), 0, 1) for c in (ground, second, backdrop)]
    top, bottom = (_tinted(colour, tint, 0.0 if indoors or name in ("night sky", "moon") else share) for colour in sky)
    if name == "studio":
        top = bottom = tones[0] = np.array(_STUDIO[rng.integers(len(_STUDIO))])
    if daytime == "night" and not indoors and name != "night sky":
        tones[2] = tones[2] * 0.3
    return Scenery(
        sky_top=top * dim,
        sky_bottom=bottom * dim,
        ground=tones[0],
        ground_second=tones[1],
        ground_pattern=pattern,
        horizon="stars" if daytime == "night" and horizon in ("none", "sea") and not indoors else horizon,
        backdrop=tones[2] * dim,
        sun=_direction(azimuth, height),
        sunlight=np.array(sunlight if not indoors else (0.7, 0.68, 0.64)) * dim,
        ambient=np.array(ambient if not indoors else (0.46, 0.46, 0.47)) * dim,
        solids=tuple(_scattered(props, count, rng)),
        seed=int(rng.integers(1 << 20)),
    )


_STUDIO: tuple[RGB, ...] = (
    (0.80, 0.80, 0.82), (0.72, 0.80, 0.88), (0.88, 0.78, 0.74), (0.76, 0.84, 0.74), (0.84, 0.78, 0.88), (0.90, 0.86, 0.72),
)  # fmt: skip


def _tinted(colour: RGB, tint: RGB, share: float) -> np.ndarray:
    return np.array(colour) * (1 - share) + np.array(tint) * share


def _direction(azimuth: float, height: float) -> np.ndarray:
    return np.array([math.sin(azimuth) * math.cos(height), math.sin(height), math.cos(azimuth) * math.cos(height)])


def _scattered(props: tuple[Prop, ...], count: int, rng: np.random.Generator) -> list[Solid]:
    """Props behind the middle of the picture, to both sides, none in front of the toys."""
    solids: list[Solid] = []
    for k in range(count):
        side = 1 if (k + int(rng.integers(2))) % 2 else -1
        away = rng.uniform(2.2, 5.0)
        at = (side * rng.uniform(0.25, 0.55) * (away + 2.5), 0.0, -away)
        build = props[int(rng.integers(len(props)))]
        solids += moved(build(rng), placed(at=at, turn=rng.uniform(-0.5, 0.5), scale=rng.uniform(0.75, 1.15)))
    return solids
