"""The part of a picture where a subject is to be put: a box around it, or a rough outline of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, Tensor

EVEN = 17
"""Side of the neighbourhood over which noise is averaged for a rough outline, in 128ths of a picture's side."""


@dataclass(frozen=True)
class Hole:
    """The part of a target picture that is to be painted, drawn anew for every row.

    grown: range of the box's sides, as multiples of the sides of the box around the subject's mask
    rough: probability of a rough outline of the subject in place of a box, from 0 to 1
    blank: probability that the scene is not shown and all grey, from 0 to 1
    """

    grown: tuple[float, float] = (1.0, 1.0)
    rough: float = 0.0
    blank: float = 0.0

    def scene(self, pixels: Tensor, generator: Generator) -> Tensor:
        """[n, 3, H, W]: the target pictures, some of them grey."""
        import torch

        shown = torch.rand(len(pixels), generator=generator) >= self.blank
        return torch.where(shown.to(pixels.device).view(-1, 1, 1, 1), pixels, torch.full_like(pixels, 0.5))

    def __call__(self, masks: Tensor, generator: Generator) -> Tensor:
        """[n, 1, H, W] of 0 and 1, from masks of the subjects [n, 1, H, W] in [0, 1]. A mask that is empty has the
        whole picture."""
        import torch

        low, high = self.grown
        factors = low + (high - low) * torch.rand(len(masks), 1, generator=generator)
        chosen = torch.rand(len(masks), generator=generator) < self.rough
        boxes = boxes_around(masks)
        empty = boxes.isnan().any(1)
        boxed = box_masks(grown_boxes(boxes, factors.to(boxes)), masks.shape[-1])
        outlined = rough_outlines(masks, generator)
        holes = torch.where(chosen.to(masks.device).view(-1, 1, 1, 1), outlined, boxed.to(outlined))
        return torch.where(empty.view(-1, 1, 1, 1), torch.ones_like(holes), holes)


def boxes_around(masks: Tensor) -> Tensor:
    """[n, 4]: left, top, right, bottom of each mask where it is above 0.5, as shares; NaN for an empty mask.

    masks: [n, 1, H, W] in [0, 1]
    """
    import torch

    edges = []
    for inside in (masks[:, 0].amax(1) > 0.5, masks[:, 0].amax(2) > 0.5):  # over rows: columns; over columns: rows
        count, on = inside.shape[1], inside.to(torch.uint8)
        edges.append((on.argmax(1) / count, 1 - on.flip(1).argmax(1) / count))
    (left, right), (top, bottom) = edges
    boxes = torch.stack([left, top, right, bottom], 1)
    return torch.where((masks.flatten(1).amax(1) > 0.5)[:, None], boxes, torch.nan)


def grown_boxes(boxes: Tensor, factors: Tensor) -> Tensor:
    """[n, 4]: boxes with their sides multiplied about their centres, cut at the picture's edges.

    boxes: [n, 4], left, top, right and bottom as shares of the picture
    factors: [n, 1]
    """
    import torch

    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, factors * (boxes[:, 2:] - boxes[:, :2]) / 2
    return torch.cat([centre - half, centre + half], 1).clamp(0, 1)


def box_masks(boxes: Tensor, size: int) -> Tensor:
    """[n, 1, size, size]: 1 at pixels whose centre lies in the box, else 0. A box narrower than a pixel has one.

    boxes: [n, 4], left, top, right and bottom as shares of the picture; NaN is no pixel
    size: pixels of a side
    """
    import torch

    at = (torch.arange(size, device=boxes.device) + 0.5) / size
    low, high = boxes[:, :2], torch.maximum(boxes[:, 2:], boxes[:, :2] + 1 / size)
    across, down = ((at >= low[:, k, None]) & (at < high[:, k, None]) for k in (0, 1))
    return (down[:, :, None] & across[:, None, :])[:, None].float()


def rough_outlines(masks: Tensor, generator: Generator) -> Tensor:
    """[n, 1, H, W] of 0 and 1: each mask made wider here and narrower there, as if drawn by a hurried hand.

    The mask is averaged over a neighbourhood, and is 1 where it exceeds smooth noise around a third.

    masks: [n, 1, H, W] in [0, 1]
    generator: of the noise
    """
    import torch
    import torch.nn.functional as F

    side = max(3, round(EVEN * masks.shape[-1] / 128) // 2 * 2 + 1)

    def smooth(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, side, 1, side // 2, count_include_pad=False)

    noise = smooth(smooth(torch.rand(masks.shape, generator=generator) - 0.5)).to(masks)
    noise = noise / noise.std((2, 3), keepdim=True).clamp_min(1e-6)
    return (smooth(masks.float()) > (0.35 + 0.15 * noise).clamp(0.05, 0.8)).to(masks)
