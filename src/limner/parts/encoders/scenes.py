"""The scene of a run and the part of it where a subject is to be put."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from limner.errors import InputError
from limner.parts.sources.placing import box_masks, boxes_around

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base
    from limner.core.types import Pass

CONDITIONS = frozenset({"source", "mask"})
"""Names of the conditions: the scene, and where in it the subject goes."""
GREY = 0.5
"""Brightness of a scene that is not known."""
MIDDLE = (0.15, 0.15, 0.85, 0.85)
"""Box of a subject for which no place is given."""


class Scene(NamedTuple):
    """The scenes of a run's rows, and where in them the subject goes."""

    pixels: Tensor  # [rows, 3, H, W] in [0, 1], grey inside of the hole and where no scene is known
    hole: Tensor  # [rows, 1, H, W] of 0 and 1
    boxes: Tensor  # [rows, 4]: left, top, right and bottom of the hole, as shares


def scene_of(base: Base, run: Pass, rows: int, handle: str) -> Scene:
    """The scene of a run, from its conditions "source" and "mask".

    In sampling, a region of the handle's own comes before the mask, and without either the subject goes to the MIDDLE.
    Raises `InputError` for a training batch without these conditions, and for an empty mask.

    base: the base
    run: the run
    rows: number of its rows
    handle: the subject's word in prompts
    """
    import torch
    import torch.nn.functional as F

    if run.random is not None and not run.conditions.keys() >= CONDITIONS:
        raise InputError(
            "this method learns from a scene and the place of the subject in it, and these batches have none: take "
            "pairs(hole=Hole())"
        )
    size = base.picture_size
    about: dict[str, Any] = {"device": base.device, "dtype": base.dtype}
    if handle in run.regions:
        hole = F.interpolate(run.regions[handle].to(**about), (size, size), mode="nearest") >= GREY
    elif "mask" in run.conditions:
        hole = run.conditions["mask"].mean(1, keepdim=True) >= GREY
    else:
        hole = box_masks(torch.tensor([MIDDLE], device=base.device), size) > 0
    hole = hole.to(**about).expand(rows, -1, -1, -1)
    boxes = boxes_around(hole)
    if bool(boxes.isnan().any()):
        raise InputError(f"the mask for {handle} is empty: expected white where the subject is to be put")
    source = run.conditions.get("source")
    scene = torch.full((rows, 3, size, size), GREY, **about) if source is None else source.to(**about)
    return Scene(torch.lerp(scene.expand(rows, 3, -1, -1), torch.full_like(hole, GREY), hole), hole, boxes.to(hole))
