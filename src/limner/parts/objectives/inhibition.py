"""Attention of instances suppressed in the background (MIGC, arXiv:2402.05408)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.core.recipe import Objective
from limner.errors import InputError
from limner.parts.fusion.box_channel import outside_of
from limner.parts.fusion.instances import MAPS

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Step
    from limner.core.recipe import Source


def inhibition(source: Source, *, most: int = 256) -> Objective:
    """Mean over the background of |A - mean of A in the background|, A being the cross-attention map of each instance's
    noun in the prompt (the inhibition loss of arXiv:2402.05408, from memory: its code is not published).

    The background is the area outside of all boxes. Raises `InputError` for batches without boxes, and where no layer's
    maps were kept.

    source: batches with references that have boxes
    most: largest number of positions of a layer that counts
    """

    def value(step: Step) -> Tensor:
        import torch

        run, shown = step.prediction.run, step.batch.references
        if run is None or shown is None or shown.boxes is None:
            raise InputError(f"{source.name} gives no boxes, outside of which this objective inhibits attention")
        boxes = [shown.boxes, *(other.boxes for other in shown.beside if other.boxes is not None)]
        terms = []
        for name, maps in run.activations.items():
            if name.startswith(f"{MAPS}, ") and maps.shape[-1] <= most:
                own = maps[step.prediction.rows].float()  # [B, S, N]
                terms.append(unevenness(own, outside_of(boxes, *_square(own.shape[-1])).flatten(2).to(own)))
        if not terms:
            raise InputError("no cross-attention map of an instance was kept, which this objective needs")
        return torch.stack(terms).mean()

    return Objective(f"inhibition({source.name})", source, value)


def unevenness(maps: Tensor, background: Tensor) -> Tensor:
    """The mean over the background of the distance of maps to their own mean there, a scalar.

    maps: [B, S, N]
    background: [B, 1, N] of 0 and 1
    """
    total = background.sum(-1, keepdim=True).clamp_min(1)
    mean = (maps * background).sum(-1, keepdim=True) / total
    apart: Tensor = (((maps - mean).abs() * background).sum(-1, keepdim=True) / total).mean()
    return apart


def _square(positions: int) -> tuple[int, int]:
    side = round(positions**0.5)
    return side, side
