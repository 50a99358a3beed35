"""The subject's pictures at random sizes and places on a plain canvas (PACGen, arXiv:2306.17154)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from limner.core.recipe import Source
from limner.core.streams import stream
from limner.core.types import Batch
from limner.parts.augmentations.plain import PLAIN

from .photos import check_latents

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import Streams

GROUP = 8  # pictures encoded at once


def relocated(
    subject: Subject,
    *,
    captions: Sequence[str] = ("a photo of {}",),
    batch: int = 4,
    views: int = 48,
    least: float = 0.3,
    most: float = 1.0,
    crop: float = 0.8,
    brightness: float = 0.1,
) -> Source:
    """Batches of the subject's pictures: cropped about their middle, made smaller, and put at a random place of a plain
    canvas, so that place and size are not learned with the subject (arXiv:2306.17154).

    subject: the subject
    captions: templates with {} for the handle
    batch: pictures in an update
    views: number of augmented pictures, each made and encoded once
    least: smallest side of a picture on the canvas, as a share of the canvas's
    most: largest side
    crop: smallest share of a picture's side that its crop keeps, from above 0 to 1
    brightness: largest change of a picture's brightness, as a share
    """

    def prepare(base: Base) -> Callable[[int, Streams], Batch]:
        import torch

        pictures = subject.tensor(base.picture_size)
        every = pictures[[k % len(pictures) for k in range(views)]]
        draws = torch.stack([torch.rand(5, generator=stream(0, "relocated", k)) for k in range(views)])
        sizes, crops = least + (most - least) * draws[:, 0], crop + (1 - crop) * draws[:, 1]
        light = 1 + brightness * (2 * draws[:, 2] - 1)
        canvases = on_canvas((every * light.view(-1, 1, 1, 1)).clamp(0, 1), sizes, crops, draws[:, 3:])
        with torch.no_grad():
            parts = [base.encode(part.to(base.device)) for part in canvases.split(GROUP)]
        mean, deviation = (torch.cat(part).cpu() for part in zip(*parts, strict=True))
        check_latents(mean, base)

        def draw(step: int, at: Streams) -> Batch:
            rows = torch.randint(views, (batch,), generator=at("views"))
            which = torch.randint(len(captions), (batch,), generator=at("caption")).tolist()
            noise = torch.randn(batch, *mean.shape[1:], generator=at("latents"))
            latents = (mean[rows] + deviation[rows] * noise).to(base.device, base.dtype)
            return Batch(latents, tuple(captions[k].format(subject.handle) for k in which))

        return draw

    return Source("relocated photos", "subject", prepare)


def on_canvas(pixels: Tensor, sizes: Tensor, crops: Tensor, spots: Tensor) -> Tensor:
    """[n, 3, H, W]: each picture, cropped about its middle, at a size and place of a plain canvas.

    pixels: pictures [n, 3, H, W] in [0, 1]
    sizes: side of each picture on the canvas, as a share of the canvas's [n]
    crops: share of each picture's side that is kept [n]
    spots: place on the canvas, across and down, 0 at its left and top edge and 1 at the others [n, 2]
    """
    import torch
    import torch.nn.functional as F

    middle = 2 * (sizes[:, None] / 2 + spots * (1 - sizes[:, None])) - 1  # [n, 2] in [-1, 1]
    ratio, zero = 1 / sizes, torch.zeros_like(sizes)
    across = torch.stack([ratio, zero, -ratio * middle[:, 0]], 1)
    down = torch.stack([zero, ratio, -ratio * middle[:, 1]], 1)
    grid = F.affine_grid(torch.stack([across, down], 1), [len(pixels), 1, *pixels.shape[2:]], align_corners=False)
    inside = (grid.abs().amax(-1) <= 1)[:, None]
    grid = (grid * crops.view(-1, 1, 1, 1)).to(pixels)
    moved = F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    return torch.where(inside.to(moved.device), moved, torch.full_like(moved, PLAIN))
