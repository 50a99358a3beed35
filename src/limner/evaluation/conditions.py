"""Judge pictures that were painted by an extra condition: source pictures of the pocket world, whose truth is known.

A garment that was put on a person is judged by the render of the same person in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from limner.core.pixels import to_tensor
from limner.pocket import SIZE

from .datasets.conditions import BOX, DEPTH, EDGES, QUARTERS, SWAP, VIEW, view_of
from .several import SMALLEST, box_of, likenesses_alone, likenesses_within, subject_places
from .suites import as_values

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from .datasets.conditions import ConditionCase
    from .datasets.garments import GarmentCase
    from .encoders import Encoder

CLOSE = 1.25
"""Factor within which two inverse depths count as the same."""
FAR = 0.02
"""Inverse depths below it, as shares of the nearest point's, all count as this."""
NEAR = 2
"""Distance in pixels within which two edges count as the same."""
MEASURED_BY = {SWAP: "silhouette", DEPTH: "depth", EDGES: "edges", BOX: "box", VIEW: "view"}
"""Condition -> the measure of whether the picture is as it asks."""


def judged_conditions(
    case: ConditionCase, condition: str, images: Sequence[Image.Image], seeds: int, encoder: Encoder
) -> dict[str, Any]:
    """The fields `values` and `each` of a unit; a measure that does not apply to the condition is NaN.

    case: the toy, with its source pictures
    condition: one of datasets.conditions.CONDITIONS
    images: pictures ordered by prompt, `seeds` of each
    seeds: number of pictures of a prompt
    encoder: an encoder that distinguishes individuals
    """
    import torch

    rows = [k for k in range(len(case.scenes)) for _ in range(seeds)]
    pixels, nothing = to_tensor(images, SIZE), torch.full((len(images),), float("nan"))
    seen = subject_places(images, (case.member.noun,))[:, 0]  # [N, H, W]
    by_source = condition in (SWAP, DEPTH, EDGES)
    # a swap shows the subject's own shape in place of the source's toy
    shapes = subject_places(case.answered, (case.member.noun,))[:, 0] if condition == SWAP else case.masks
    measures = {
        "background": background_error(pixels, to_tensor(case.sources, SIZE)[rows], case.changeable[rows])
        if condition == SWAP
        else nothing,
        "identity": likenesses_alone(images, case.member.held_out, case.member.noun, encoder),
        "silhouette": overlap(seen, shapes[rows]) if by_source else nothing,
        "depth": depth_agreement(pixels, case.depths[rows]) if condition == DEPTH else nothing,
        "edges": edge_agreement(pixels, case.edges[rows]) if condition == EDGES else nothing,
        "box": box_overlap(seen, [case.boxes[k] for k in rows]) if condition != VIEW else nothing,
        "view": _views(pixels, rows) if condition == VIEW else nothing,
        **_as_asked(pixels, case, rows),
    }
    measures["condition"] = measures[MEASURED_BY[condition]]
    return as_values({name: values.tolist() for name, values in measures.items()})


def judged_garments(case: GarmentCase, images: Sequence[Image.Image], seeds: int, encoder: Encoder) -> dict[str, Any]:
    """The fields `values` and `each` of a unit in which a garment was put on people.

    case: the garment, with its source pictures
    images: pictures ordered by prompt, `seeds` of each
    seeds: number of pictures of a prompt
    encoder: an encoder that distinguishes individuals
    """
    rows = [k for k in range(len(case.sources)) for _ in range(seeds)]
    pixels, garment_mask, region = to_tensor(images, SIZE), case.garment_masks[rows], case.changeable[rows]
    sources, right = (to_tensor(own, SIZE)[rows] for own in (case.sources, case.answered))
    colour, pattern = cloth_errors(pixels, right, garment_mask)
    measures = {
        "background": background_error(pixels, sources, region),
        "identity": likenesses_within(garment_mask, images, tuple(case.answered[k] for k in rows), encoder),
        "garment": nearness(pixels, sources, right, region),
        "colour": colour,
        "pattern": pattern,
    }
    measures["condition"] = measures["garment"]
    return as_values({name: values.tolist() for name, values in measures.items()})


def nearness(pixels: Tensor, sources: Tensor, right: Tensor, region: Tensor) -> Tensor:
    """[N], at most 1: by how much of the way from its source each picture has come to its answer in a region: 0 is as
    far from the answer as the source is, 1 the answer itself, below 0 farther than the source.

    pixels, sources, right: [N, 3, H, W] in [0, 1]
    region: [N, H, W] of 0 and 1
    """
    start = background_error(sources, right, 1 - region).clamp_min(1e-6)
    return 1 - background_error(pixels, right, 1 - region) / start


def cloth_errors(pixels: Tensor, right: Tensor, garment_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Two errors in [0, 1] of each picture where its answer has the garment, both [N]: the mean absolute difference of
    the mean colours, and that of the pixels once each picture's mean colour is taken away.

    pixels, right: [N, 3, H, W] in [0, 1]
    garment_mask: [N, H, W] of 0 and 1
    """
    inside = garment_mask[:, None]
    count = inside.sum((2, 3), keepdim=True).clamp_min(1)
    off = (pixels - right) * inside
    mean = off.sum((2, 3), keepdim=True) / count
    return mean.abs().mean((1, 2, 3)), ((off - mean).abs() * inside).sum((1, 2, 3)) / (3 * count[:, 0, 0, 0])


def background_error(pixels: Tensor, sources: Tensor, changeable: Tensor) -> Tensor:
    """[N] in [0, 1]: mean absolute difference of each picture from its source where it may not change.

    pixels, sources: [N, 3, H, W] in [0, 1]
    changeable: [N, H, W] of 0 and 1
    """
    outside = 1 - changeable[:, None]
    return ((pixels - sources).abs() * outside).sum((1, 2, 3)) / (3 * outside.sum((1, 2, 3))).clamp_min(1)


def overlap(masks: Tensor, others: Tensor) -> Tensor:
    """[N]: intersection over union of two masks [N, H, W] of 0 and 1; 0 where either is empty."""
    import torch

    both, either = (masks * others).sum((1, 2)), torch.maximum(masks, others).sum((1, 2))
    return both / either.clamp_min(1)


def box_overlap(masks: Tensor, boxes: Sequence[Sequence[float]]) -> Tensor:
    """[N]: intersection over union of the box around each mask and the box that was asked for; 0 for an empty mask.

    masks: [N, H, W] of 0 and 1
    boxes: left, top, right and bottom of each, as shares of the picture
    """
    import torch

    values = []
    for mask, asked in zip(masks, boxes, strict=True):
        around = box_of(mask)
        if around is None or float(mask.mean()) < SMALLEST:
            values.append(0.0)
            continue
        size = mask.shape[-1]
        left, top, right, bottom = (end / size for end in (around[0], around[1], around[2] + 1, around[3] + 1))
        wide = min(right, asked[2]) - max(left, asked[0])
        tall = min(bottom, asked[3]) - max(top, asked[1])
        both = max(wide, 0.0) * max(tall, 0.0)
        each = (right - left) * (bottom - top) + (asked[2] - asked[0]) * (asked[3] - asked[1])
        values.append(both / (each - both))
    return torch.tensor(values)


def depth_agreement(pixels: Tensor, asked: Tensor) -> Tensor:
    """[N] in [0, 1]: share of the pixels whose inverse depth, as estimated, is within a factor CLOSE of the one
    asked for (the accuracy of arXiv:1406.2283, Sec. 4.1, for inverse depths).

    pixels: [N, 3, H, W] in [0, 1]
    asked: [N, 1, H, W] in [0, 1], 1 at the nearest point
    """
    import torch

    from limner.pocket.estimators import depth

    ratio = depth(pixels).clamp_min(FAR) / asked.clamp_min(FAR)
    return (torch.maximum(ratio, 1 / ratio) < CLOSE).float().mean((1, 2, 3))


def edge_agreement(pixels: Tensor, asked: Tensor) -> Tensor:
    """[N] in [0, 1]: F-measure of each picture's edges with those that were asked for, where edges at most NEAR pixels
    apart are the same (the boundary measure of IEEE TPAMI 26(5), 2004, with a square in place of a matching).

    pixels: [N, 3, H, W] in [0, 1]
    asked: [N, 1, H, W] of 0 and 1
    """
    import torch.nn.functional as F

    from limner.parts.encoders.conditions import edges

    painted = edges(pixels)
    around, around_painted = (F.max_pool2d(lines, 2 * NEAR + 1, 1, NEAR) for lines in (asked, painted))
    precision = (painted * around).sum((1, 2, 3)) / painted.sum((1, 2, 3)).clamp_min(1)
    recall = (asked * around_painted).sum((1, 2, 3)) / asked.sum((1, 2, 3)).clamp_min(1)
    return 2 * precision * recall / (precision + recall).clamp_min(1e-6)


def _views(pixels: Tensor, rows: Sequence[int]) -> Tensor:
    """[N] of 0 and 1: whether the judge reads each view; in eighths where its edition does, else in quarters."""
    import torch

    from limner.pocket import judges

    seen = judges.read(pixels)
    eighths = "azimuth" in seen[0]
    right = [
        row["azimuth"] == view_of(k)[1] if eighths else row["view"] == QUARTERS[view_of(k)[1]]
        for row, k in zip(seen, rows, strict=True)
    ]
    return torch.tensor(right).float()


def _as_asked(pixels: Tensor, case: ConditionCase, rows: Sequence[int]) -> dict[str, Tensor]:
    """Whether the judge reads the class and the scene that each prompt asks for, and both."""
    from .truth import fields_right

    truths = [{"class": case.member.noun, "scene": case.scenes[k]} for k in rows]
    right = fields_right(pixels, truths)
    return {**right, "prompt": right["class"] * right["scene"]}
