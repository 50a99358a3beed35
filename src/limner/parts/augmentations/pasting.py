"""Pictures put into a box of another picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def pasted(pixels: Tensor, boxes: Tensor, *, around: Tensor | float = 0.0) -> Tensor:
    """[n, C, H, W]: each picture shrunk into its box, and around it another picture or a constant.

    pixels: pictures [n, C, H, W]
    boxes: [n, 4], left, top, right and bottom as shares of the picture
    around: pictures [n, C, H, W] that stay outside of the box, or one value
    """
    import torch
    import torch.nn.functional as F

    centre, half = boxes[:, :2] + boxes[:, 2:] - 1, (boxes[:, 2:] - boxes[:, :2]).clamp_min(1e-3)
    how = torch.zeros(len(boxes), 2, 3, device=boxes.device)
    how[:, 0, 0], how[:, 1, 1] = 1 / half[:, 0], 1 / half[:, 1]
    how[:, :, 2] = -centre / half
    grid = F.affine_grid(how, list(pixels.shape), align_corners=False).to(pixels)
    small = F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    inside = ((grid.abs() <= 1).all(-1)[:, None]).to(pixels)
    return small * inside + around * (1 - inside)
