"""Pictures of facial landmarks, which tell a control branch the position and pose of a head."""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING

from .faces import face_landmarks, face_points

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base

COLOURS = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 1.0, 0.0), (1.0, 0.0, 1.0))
"""Colours of left eye, right eye, nose, left and right mouth corner, as red, green, blue in [0, 1]."""
NOSE, DIM = 2, 0.6
RADIUS, THICK = 10 / 1024, 4 / 1024
"""Radius of a disc and half the width of a limb, as shares of the picture's side: ten and four pixels of 1024."""


def keypoint_image(points: Tensor, size: int) -> Tensor:
    """[n, 3, size, size] in [0, 1]: the five points of a face drawn on black; a row with NaN stays black.

    From each eye and mouth corner a limb runs to the nose, an ellipse at 0.6 of its colour; each point is a disc (the
    protocol of InstantID, arXiv:2401.07519, and its authors' draw_kps).

    points: [n, 5, 2], x and y as shares of width and height
    size: side of the picture in pixels
    """
    import torch

    where = _grid(points, size)
    images = points.new_zeros(len(points), 3, size, size)
    for k in (0, 1, 3, 4):
        a, b = points[:, k], points[:, NOSE]
        along = b - a
        length = along.norm(dim=-1).clamp_min(1e-6)[:, None, None]
        relative = where - ((a + b) / 2)[:, None, None]
        unit = along[:, None, None] / length[..., None]
        far = (relative * unit).sum(-1) / (length / 2)
        wide = (relative[..., 0] * unit[..., 1] - relative[..., 1] * unit[..., 0]) / _at_least(THICK, size)
        there = length > 1e-6  # two points at one place have no limb
        images = _filled(images, (far**2 + wide**2 <= 1) & there, COLOURS[k], DIM)
    for k, colour in enumerate(COLOURS):
        off = (where - points[:, k][:, None, None]).norm(dim=-1)
        images = _filled(images, off <= _at_least(RADIUS, size), colour, 1.0)
    return torch.nan_to_num(images)


def landmark_image(points: Tensor, size: int) -> Tensor:
    """[n, 3, size, size] in [0, 1]: a disc for each landmark, in a hue of its own, on black.

    points: [n, K, 2], x and y as shares of width and height
    size: side of the picture in pixels
    """
    where, images = _grid(points, size), points.new_zeros(len(points), 3, size, size)
    for k in range(points.shape[1]):
        off = (where - points[:, k][:, None, None]).norm(dim=-1)
        colour = colorsys.hsv_to_rgb(k / points.shape[1], 1.0, 1.0)
        images = _filled(images, off <= _at_least(RADIUS / 2, size), colour, 1.0)
    return images


def keypoints(base: Base, pixels: Tensor) -> Tensor:
    """[n, 3, H, H] in [0, 1]: the keypoint image of each picture's face; black where there is none.

    base: the base, with a landmark detector
    pixels: [n, 3, H, H] in [0, 1]
    """
    return keypoint_image(face_points(base, pixels), pixels.shape[-1])


def landmark_map(base: Base, pixels: Tensor) -> Tensor:
    """[n, 3, H, H] in [0, 1]: the image of all landmarks that the base's detector marks; black where there is no face.

    base: the base, with a landmark detector
    pixels: [n, 3, H, H] in [0, 1]
    """
    return landmark_image(face_landmarks(base, pixels), pixels.shape[-1])


def face_region(points: Tensor, size: int, *, grown: float = 1.6) -> Tensor:
    """[n, 1, size, size] of 0 and 1: an ellipse around the face; a row with NaN is 0.

    points: [n, 5, 2], x and y as shares of width and height
    size: side of the mask in pixels
    grown: half axes of the ellipse, as multiples of the largest distance of a point from the points' mean
    """
    where, middle = _grid(points, size), points.mean(1)
    half = (points - middle[:, None]).abs().amax(1).clamp_min(1e-3) * grown
    off = (where - middle[:, None, None]) / half[:, None, None]
    return (off.square().sum(-1) <= 1)[:, None].to(points)


def _grid(points: Tensor, size: int) -> Tensor:
    """[1, size, size, 2]: x and y of the centre of every pixel, as shares."""
    import torch

    line = (torch.arange(size, device=points.device, dtype=points.dtype) + 0.5) / size
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y], -1)[None]


def _at_least(share: float, size: int) -> float:
    """A radius that is visible at this size: one pixel or more."""
    return max(share, 1.0 / size)


def _filled(image: Tensor, inside: Tensor, colour: tuple[float, float, float], bright: float) -> Tensor:
    """The picture [n, 3, s, s] filled with a colour where `inside` [n, s, s]."""
    import torch

    paint = image.new_tensor(colour).view(1, 3, 1, 1) * bright
    return torch.where(inside[:, None], paint, image)
