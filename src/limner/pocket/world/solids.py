"""Rays against solids, in closed form.

Every solid is brought to its unit shape by its own affine map, rays with it; the ray parameter t is untouched by that.
Unit shapes: the ball |q| = 1; the cone about y between y = -1 (radius 1) and y = 1 (radius taper); the cube |q| <= 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

MISS = float("inf")
_TINY = 1e-9


def ball(origin: Tensor, direction: Tensor) -> Tensor:
    """First t > 0 of |o + t d| = 1, inf where there is none. origin, direction [N, 3] -> [N]"""
    a = (direction * direction).sum(-1)
    b = (origin * direction).sum(-1)
    root = b * b - a * ((origin * origin).sum(-1) - 1)
    t = (-b - root.clamp_min(0).sqrt()) / a
    return torch.where((root > 0) & (t > 0), t, MISS)


def cone(origin: Tensor, direction: Tensor, taper: Tensor) -> Tensor:
    """First t > 0 on a capped cone or cylinder (taper [N] = 1): its side, or a cap. [N]"""
    mean, slope = (1 + taper) / 2, (1 - taper) / 2  # radius at height y is mean - slope * y
    (ox, oy, oz), (dx, dy, dz) = origin.unbind(-1), direction.unbind(-1)
    radius = mean - slope * oy
    a = dx * dx + dz * dz - (slope * dy) ** 2
    b = ox * dx + oz * dz + radius * slope * dy
    c = ox * ox + oz * oz - radius * radius
    root = b * b - a * c
    distance = root.clamp_min(0).sqrt()
    a = torch.where(a.abs() < _TINY, _TINY, a)
    best = torch.full_like(oy, MISS)
    for t in ((-b - distance) / a, (-b + distance) / a):
        good = (root > 0) & (t > 0) & ((oy + t * dy).abs() <= 1)
        best = torch.where(good & (t < best), t, best)
    for height, rim in ((-1.0, 1.0), (1.0, taper)):
        t = (height - oy) / torch.where(dy.abs() < _TINY, _TINY, dy)
        good = (t > 0) & ((ox + t * dx) ** 2 + (oz + t * dz) ** 2 <= rim * rim)
        best = torch.where(good & (t < best), t, best)
    return best


def cube(origin: Tensor, direction: Tensor) -> Tensor:
    """First t > 0 on the faces of the cube. [N]"""
    inverse = 1 / torch.where(direction.abs() < _TINY, _TINY, direction)
    low, high = (-1 - origin) * inverse, (1 - origin) * inverse
    near = torch.minimum(low, high).amax(-1)
    far = torch.maximum(low, high).amin(-1)
    return torch.where((near < far) & (near > 0), near, MISS)


def ball_normal(q: Tensor) -> Tensor:
    """The gradient of the ball's surface at q [N, 3], in unit-shape coordinates."""
    return q


def cone_normal(q: Tensor, taper: Tensor) -> Tensor:
    """The gradient of a cone's surface at q: of the side, or of the cap that q is on."""
    mean, slope = (1 + taper) / 2, (1 - taper) / 2
    x, y, z = q.unbind(-1)
    side = torch.stack([x, slope * (mean - slope * y), z], -1)
    cap = torch.stack([torch.zeros_like(y), y.sign(), torch.zeros_like(y)], -1)
    inside = x * x + z * z < (mean - slope * y) ** 2 * 0.998
    return torch.where(((y.abs() > 0.999) & inside)[:, None], cap, side)


def cube_normal(q: Tensor) -> Tensor:
    """The outward axis of the face that q is on."""
    face = torch.nn.functional.one_hot(q.abs().argmax(-1), 3)
    return face * q.sign()
