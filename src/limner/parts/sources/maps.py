"""Maps of a picture's structure, computed from target pictures in training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.parts.encoders.conditions import edges, soft_edges

if TYPE_CHECKING:
    from torch import Tensor

    from .pairs import Mapped, Truth

STRUCTURE: dict[str, Mapped] = {
    "edges": lambda truth: edges(truth.pixels),
    "lines": lambda truth: soft_edges(truth.pixels),
    "depth": lambda truth: truth.depths,
    "segmentation": lambda truth: truth.masks,
}
"""Name of each map -> the map of target pictures, as far as the corpus tells it."""


def any_map(truth: Truth) -> Tensor:
    """[n, 1, H, W]: a map of each picture, of another kind from row to row.

    truth: the target pictures
    """
    import torch

    maps = [part for make in STRUCTURE.values() if (part := make(truth)) is not None]
    return torch.stack([maps[row % len(maps)][row] for row in range(len(truth.pixels))])
