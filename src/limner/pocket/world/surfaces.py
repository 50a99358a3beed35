"""The paint of a toy: patterns, marks and wood grain, as functions of the toy's own coordinates.

So a pattern is part of the individual: it turns and moves with the toy and is the same from all sides.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .vocabulary import PATTERNS


def patterned(pattern: Tensor, point: Tensor, first: Tensor, second: Tensor, shape: Tensor) -> Tensor:
    """Colours [N, 3]. pattern [N] indexes PATTERNS; point [N, 3]; shape [N, 4]: frequency, direction, phase,
    contrast."""
    colour = first.clone()
    for code, name in enumerate(PATTERNS):
        chosen = (pattern == code).nonzero()[:, 0] if name != "plain" else ()
        if len(chosen):
            on = _ON[name](point[chosen], *shape[chosen, :3].unbind(-1))
            strength = (0.75 + 0.25 * shape[chosen, 3:]) * on[:, None]
            colour[chosen] = first[chosen] + strength * (second[chosen] - first[chosen])
    return colour


def marked(colour: Tensor, point: Tensor, marks: Tensor) -> Tensor:
    """Round marks [N, n, 7] (centre, radius, colour) painted over colours [N, 3]."""
    near = (point[:, None] - marks[:, :, :3]).norm(dim=-1) < marks[:, :, 3]
    for k in range(marks.shape[1]):
        colour = torch.where(near[:, k, None], marks[:, k, 4:], colour)
    return colour


def wooden(wood: Tensor, point: Tensor, colour: Tensor) -> Tensor:
    """Grain over the colours of wooden rows, [N] bool."""
    rings = ((point[:, 0] * 9) ** 2 + (point[:, 2] * 4 + 0.6 * torch.sin(point[:, 1] * 9)) ** 2).sqrt()
    grain = 0.82 + 0.18 * torch.sin(rings * 7 + point[:, 1] * 5)
    tinted = colour * 0.75 + 0.25 * torch.tensor([0.62, 0.42, 0.22], device=colour.device)
    return torch.where(wood[:, None], tinted * grain[:, None], colour)


def _striped(point: Tensor, frequency: Tensor, direction: Tensor, phase: Tensor) -> Tensor:
    angle = direction * 3.1416
    across = point[:, 1] * torch.cos(angle) + (0.8 * point[:, 0] + 0.6 * point[:, 2]) * torch.sin(angle)
    return (torch.sin(across * (16 + 14 * frequency) + 6.2832 * phase) > 0.1).float()


def _spotted(point: Tensor, frequency: Tensor, direction: Tensor, phase: Tensor) -> Tensor:
    cell = _lattice(point, 5.0 + 4.0 * frequency, phase)
    return (cell.norm(dim=-1) < 0.36 + 0.08 * direction).float()


def _checkered(point: Tensor, frequency: Tensor, direction: Tensor, phase: Tensor) -> Tensor:
    cells = torch.floor(point * (6 + 4 * frequency)[:, None] + phase[:, None])
    return cells.sum(-1) % 2


def _patched(point: Tensor, frequency: Tensor, direction: Tensor, phase: Tensor) -> Tensor:
    p = point * (5 + 3 * frequency)[:, None]
    shift, turn = 6.2832 * phase, 6.2832 * direction
    waves = torch.sin(p[:, 0] + shift) + torch.sin(1.3 * p[:, 1] + turn) + torch.sin(1.1 * p[:, 2] - shift + turn)
    return (waves + 0.5 * torch.sin(1.7 * p[:, 0] - 1.2 * p[:, 1] + turn) > 0.55).float()


def _starred(point: Tensor, frequency: Tensor, direction: Tensor, phase: Tensor) -> Tensor:
    cell = _lattice(point, 4.5 + 3.0 * frequency, phase)
    around = torch.atan2(cell[:, 1], cell[:, 0] + 0.7 * cell[:, 2]) + 6.2832 * direction
    radius = cell.norm(dim=-1)
    return (radius < 0.27 + 0.15 * torch.cos(5 * around)).float()


def _lattice(point: Tensor, frequency: Tensor, phase: Tensor) -> Tensor:
    """Coordinates in [-0.5, 0.5] within the cell of a lattice that is staggered from layer to layer."""
    p = point * frequency[:, None] + phase[:, None]
    layer = torch.floor(p[:, 1])
    p = torch.stack([p[:, 0] + 0.5 * (layer % 2), p[:, 1], p[:, 2] + 0.25 * (layer % 2)], -1)
    return p - torch.floor(p) - 0.5


_ON = {"striped": _striped, "spotted": _spotted, "checkered": _checkered, "patched": _patched, "starred": _starred}
