"""Adjectives of state: what has happened to a thing, as additions to its solids and as changes of its surface.

A state is no part of who a toy is: the same individual is dented here and mossy there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from .shapes import IDENTITY, Solid, along
from .vocabulary import STATES

TUFTS, DRIPS = 60, 9


def affected(solids: Sequence[Solid], state: str, seed: int) -> list[Solid]:
    """The solids of a toy, in its own coordinates, after what has happened to it; those worn are not among them."""
    if state == "plain":
        return list(solids)
    changed = [replace(solid, state=state) for solid in solids]
    match state:
        case "glowing":
            return [replace(s, material="glow", colour=0.35 + 0.65 * s.colour) for s in changed]
        case "fluffy":
            return changed + _tufts(changed, np.random.default_rng((seed, 61)))
        case "melting":
            return [_sagging(s) for s in changed] + _puddle(changed, np.random.default_rng((seed, 62)))
        case _:
            return changed


def weathered(state: Tensor, point: Tensor, normal: Tensor, colour: Tensor) -> tuple[Tensor, Tensor]:
    """Colours [N, 3] (sRGB) and unit normals [N, 3] of a surface after its state [N] (indices into STATES).

    `point` [N, 3] are the toy's own coordinates, so that what has happened travels with the toy.
    """
    for code, name in enumerate(STATES):
        if name not in _SURFACES:
            continue
        chosen = (state == code).nonzero()[:, 0]
        if len(chosen):
            paint, facing = _SURFACES[name](point[chosen], normal[chosen], colour[chosen])
            colour, normal = colour.index_copy(0, chosen, paint), normal.index_copy(0, chosen, facing)
    return colour, normal


# ------------------------------------------------------------------------------------------------------------- geometry


def _largest(solids: Sequence[Solid]) -> list[Solid]:
    """The toy's main solids: what is more than a tenth of its largest."""
    bulk = [float(np.prod(solid.size)) for solid in solids]
    return [solid for solid, size in zip(solids, bulk, strict=True) if size > 0.1 * max(bulk)]


def _tufts(solids: Sequence[Solid], rng: np.random.Generator) -> list[Solid]:
    """Little tufts that stand off the main solids, in their colours."""
    main = _largest(solids)
    areas = np.array([float(np.prod(s.size)) ** (2 / 3) for s in main])
    tufts = []
    for k in rng.choice(len(main), TUFTS, p=areas / areas.sum()):
        solid = main[k]
        way = rng.normal(size=3)
        way /= np.linalg.norm(way)
        if solid.kind != "ellipsoid":
            way /= np.abs(way).max()
        at = solid.center + solid.rotation @ (way * solid.size)
        out = solid.rotation @ (way / solid.size)
        length = 0.075 + 0.03 * rng.random()
        lean = along(out / np.linalg.norm(out) + 0.3 * rng.normal(size=3))
        tufts.append(
            replace(
                solid,
                kind="ellipsoid",
                center=at,
                rotation=lean,
                size=np.array([0.035, length, 0.035]),
                marks=None,
                taper=0.0,
            )
        )
    return tufts


def _sagging(solid: Solid) -> Solid:
    """A fifth lower, as wax sinks."""
    center = solid.center * np.array([1.0, 0.8, 1.0])
    return replace(solid, center=center, size=solid.size * np.array([1.05, 0.86, 1.05]))


def _puddle(solids: Sequence[Solid], rng: np.random.Generator) -> list[Solid]:
    """A puddle on the ground and drips down the sides, in the body's colour."""
    main = max(solids, key=lambda s: float(np.prod(s.size)))
    wide = float(max(main.size[0], main.size[2])) * 1.25 + 0.12
    ground = np.array([main.center[0], 0.0, main.center[2]])

    def drop(at: np.ndarray, size: tuple[float, float, float]) -> Solid:
        return replace(
            main, kind="ellipsoid", center=at, rotation=np.eye(3), size=np.array(size), pattern="plain", marks=None, taper=0.0,
            frame=IDENTITY,
        )  # fmt: skip

    drops = [drop(ground, (wide * 1.3, 0.045, wide * 1.1))]
    for k in range(DRIPS):
        angle = 2 * math.pi * (k + rng.random()) / DRIPS
        out = np.array([math.sin(angle), 0.0, math.cos(angle)])
        low, long = 0.5 * rng.random(), 0.10 + 0.12 * rng.random()
        at = ground + out * wide * 0.8 + (0, main.center[1] * (0.35 + low), 0)
        drops.append(drop(at, (0.045, long, 0.045)))
        drops.append(drop(at - (0, long, 0), (0.06, 0.07, 0.06)))
        drops.append(drop(ground + out * wide * (1.2 + 0.3 * rng.random()), (0.16, 0.03, 0.16)))
    return drops


# ------------------------------------------------------------------------------------------------------------- surfaces


def _blotches(point: Tensor, frequency: float) -> Tensor:
    """A bumpy field [N] in about [-1, 1]."""
    x, y, z = (point * frequency).unbind(-1)
    field = torch.sin(x + 1.7 * torch.sin(0.7 * y)) + torch.sin(1.2 * y + 1.3 * torch.sin(z)) + torch.sin(0.9 * z + x)
    return field / 3


def _dented(point: Tensor, normal: Tensor, colour: Tensor) -> tuple[Tensor, Tensor]:
    """Round dents: the normal leans to the middle of each, and its rim is scraped dark."""
    cell = point * 4.2 + 0.35 * torch.sin(point.roll(1, -1) * 5.0)
    inside = cell - torch.floor(cell) - 0.5
    radius = inside.norm(dim=-1, keepdim=True)
    deep = ((0.42 - radius) / 0.42).clamp(0, 1)
    lean = inside / radius.clamp_min(1e-4) * torch.sin(3.1416 * deep) * 1.5
    facing = torch.nn.functional.normalize(normal - lean + (lean * normal).sum(-1, keepdim=True) * normal, dim=-1)
    rim = (torch.exp(-(((radius - 0.40) / 0.045) ** 2)) * 0.55 + 0.3 * deep).clamp(0, 0.7)
    return colour * (1 - rim), facing


def _mossy(point: Tensor, normal: Tensor, colour: Tensor) -> tuple[Tensor, Tensor]:
    on = (_blotches(point, 9.0) + 0.9 * normal[:, 1] > 0.25)[:, None]
    shade = 0.75 + 0.35 * (_blotches(point, 60.0) > 0)[:, None].float()
    moss = torch.tensor([0.24, 0.47, 0.13], device=point.device) * shade
    return torch.where(on, moss, colour), normal


def _muddy(point: Tensor, normal: Tensor, colour: Tensor) -> tuple[Tensor, Tensor]:
    splash = _blotches(point, 13.0) > 0.52
    low = point[:, 1] < 0.36 + 0.16 * _blotches(point, 11.0)
    shade = 0.9 + 0.15 * _blotches(point, 40.0)[:, None]
    mud = torch.tensor([0.33, 0.21, 0.11], device=point.device) * shade
    return torch.where((splash | low)[:, None], mud, colour), normal


def _fluffy(point: Tensor, normal: Tensor, colour: Tensor) -> tuple[Tensor, Tensor]:
    hair = torch.stack([_blotches(point.roll(k, -1), 75.0) for k in range(3)], -1)
    facing = torch.nn.functional.normalize(normal + 0.55 * hair, dim=-1)
    return (colour * (0.92 + 0.22 * hair[:, :1])).clamp(0, 1), facing


def _cracked(point: Tensor, normal: Tensor, colour: Tensor) -> tuple[Tensor, Tensor]:
    p = point + 0.05 * torch.sin(point.roll(1, -1) * 17.0)
    first, second = _blotches(p, 7.0), _blotches(p.roll(1, -1) + 3.1, 8.0)
    crack = (torch.minimum(first.abs(), second.abs()) < 0.035)[:, None]
    return torch.where(crack, colour * 0.08, colour * 0.92 + 0.05), normal


def _frosted(point: Tensor, normal: Tensor, colour: Tensor) -> tuple[Tensor, Tensor]:
    thick = (0.45 + 0.45 * normal[:, 1] + 0.35 * _blotches(point, 18.0)).clamp(0.1, 0.95)[:, None]
    ice = torch.tensor([0.86, 0.94, 1.0], device=point.device)
    sparkle = (_blotches(point, 83.0) * _blotches(point.roll(1, -1) + 1.3, 61.0) > 0.28)[:, None]
    return torch.where(sparkle, torch.ones_like(colour), colour * (1 - thick) + ice * thick), normal


def _rusty(point: Tensor, normal: Tensor, colour: Tensor) -> tuple[Tensor, Tensor]:
    on = (_blotches(point, 8.0) + 0.4 * _blotches(point, 27.0) > 0.05)[:, None]
    share = (0.5 + 0.5 * _blotches(point, 35.0))[:, None]
    dark, light = (torch.tensor(c, device=point.device) for c in ((0.36, 0.15, 0.06), (0.72, 0.36, 0.12)))
    return torch.where(on, dark * (1 - share) + light * share, colour * 0.85), normal


_SURFACES = {
    "dented": _dented,
    "fluffy": _fluffy,
    "mossy": _mossy,
    "muddy": _muddy,
    "cracked": _cracked,
    "frosted": _frosted,
    "rusty": _rusty,
}
