"""Landmarks [..., K, 2]: x and y as shares of a picture's width and height, NaN where unknown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def mirrored(landmarks: Tensor, rows: Tensor, mirror: Sequence[int] = (), *, flip: bool = True) -> Tensor:
    """Landmarks [n, K, 2], mirrored in the rows [n] (bool) whose pictures are mirrored.

    `mirror` lists the landmark that each becomes (the left eye becomes the right one); empty keeps them. Without
    `flip`, positions are mirrored already and only the order of landmarks changes.
    """
    import torch

    named = landmarks[:, list(mirror)] if mirror else landmarks
    if flip:
        named = torch.stack([1 - named[..., 0], named[..., 1]], -1)
    return torch.where(rows.to(landmarks.device).view(-1, 1, 1), named, landmarks)


def cropped(landmarks: Tensor, box: tuple[float, float, float, float]) -> Tensor:
    """Landmarks [..., K, 2] of a crop, whose box is left, top, right and bottom as shares of the picture. Landmarks
    outside of the box become NaN."""
    import torch

    left, top, right, bottom = box
    corner, size = landmarks.new_tensor([left, top]), landmarks.new_tensor([right - left, bottom - top])
    points = (landmarks - corner) / size
    inside = ((points >= 0) & (points <= 1)).all(-1, keepdim=True)
    return torch.where(inside, points, torch.full_like(points, torch.nan))


def moved(landmarks: Tensor, maps: Tensor) -> Tensor:
    """Landmarks [n, K, 2] in pictures that were resampled by `affine_grid`: `maps` [n, 2, 3] take new positions to old
    ones, in [-1, 1] on each axis. Landmarks outside of the new picture become NaN."""
    import torch

    how = maps.to(landmarks)
    old = 2 * landmarks - 1 - how[:, None, :, 2]
    new = torch.linalg.solve(how[:, None, :, :2].expand(-1, old.shape[1], -1, -1), old[..., None])[..., 0]
    return cropped((new + 1) / 2, (0.0, 0.0, 1.0, 1.0))
