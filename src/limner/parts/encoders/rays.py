"""Rays of a camera around a subject, points seen from other cameras, and sums along rays (NeRF, arXiv:2003.08934).

The subject is inside of the unit sphere around the origin. A camera at the mean distance of the subject's pictures just
holds that sphere. Viewpoints are those of `core.views`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Cameras(NamedTuple):
    """Positions and axes of cameras that look at the origin."""

    eye: Tensor  # [n, 3]
    axes: Tensor  # [n, 3, 3]: rows right, up and forward


def cameras(viewpoints: Tensor, mean_distance: Tensor, fov: float) -> Cameras:
    """Cameras at these viewpoints.

    viewpoints: [n, 3], azimuth and elevation in radians, and distance
    mean_distance: distance from which the unit sphere fills the picture
    fov: angle of view, radians
    """
    import torch

    around, above, distance = viewpoints.unbind(-1)
    zero = torch.zeros_like(around)
    back = torch.stack([around.sin() * above.cos(), above.sin(), around.cos() * above.cos()], -1)
    right = torch.stack([around.cos(), zero, -around.sin()], -1)
    up = torch.linalg.cross(back, right)
    eye = (distance / mean_distance / math.sin(fov / 2))[..., None] * back
    return Cameras(eye, torch.stack([right, up, -back], -2))


def ray_points(camera: Cameras, side: int, samples: int, fov: float) -> tuple[Tensor, Tensor, float]:
    """Points [n, side^2, samples, 3] along the rays of a picture's positions, directions of the rays [n, side^2, 3] of
    length 1, and the distance between two points.

    camera: n cameras
    side: positions along a side of the picture, from the top left
    samples: points of a ray, through the unit sphere
    fov: angle of view, radians
    """
    import torch

    at = ((torch.arange(side, device=camera.eye.device) + 0.5) / side * 2 - 1) * math.tan(fov / 2)
    down, across = torch.meshgrid(at, at, indexing="ij")
    plane = torch.stack([across, -down, torch.ones_like(across)], -1).flatten(0, 1).to(camera.eye)  # [side^2, 3]
    rays = torch.nn.functional.normalize(plane @ camera.axes, dim=-1)  # [n, side^2, 3]
    middle = camera.eye.norm(dim=-1)[:, None]
    along = middle - 1 + (torch.arange(samples, device=middle.device).to(middle) + 0.5) * 2 / samples  # [n, samples]
    points = camera.eye[:, None, None] + along[:, None, :, None] * rays[:, :, None]
    return points, rays, 2 / samples


def seen_at(points: Tensor, camera: Cameras, fov: float) -> Tensor:
    """[n, R, P, 2]: where cameras see points, x and y from -1 (left, top) to 1.

    points: [n, P, 3]
    camera: R cameras
    fov: angle of view, radians
    """
    import torch

    away = points[:, None] - camera.eye[None, :, None]  # [n, R, P, 3]
    right, up, forward = (away @ camera.axes.mT).unbind(-1)
    reach = forward.clamp_min(1e-3) * math.tan(fov / 2)
    return torch.stack([right / reach, -up / reach], -1)


def along_rays(density: Tensor, values: Tensor, length: float) -> tuple[Tensor, Tensor]:
    """Values [n, N, C] and opacity [n, N] of rays: sum_k T_k (1 - exp(-density_k length)) values_k, with T_k the light
    that passes all points before (Eq. 3 of arXiv:2003.08934).

    density: [n, N, S], at least 0, nearest first
    values: [n, N, S, C]
    length: distance between two points
    """
    import torch

    passed = (-density * length).exp()  # [n, N, S]
    before = torch.cat([torch.ones_like(passed[..., :1]), passed[..., :-1].cumprod(-1)], -1)
    weights = before * (1 - passed)
    return (weights[..., None] * values).sum(-2), weights.sum(-1)
