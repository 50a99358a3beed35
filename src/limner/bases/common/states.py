"""Text states as one tensor.

What a base reads of a prompt is [L, D]: a state for each place. Some families read more of it, a global vector (pooled)
or which places are padding (a mask). Those follow in rows of their own, so that the states of a prompt stay one tensor
which can be cached, stacked and mixed like any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def pack(sequence: Tensor, *, pooled: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
    """[B, L, D], and perhaps [B, P] and [B, L] -> [B, L + rows, D]"""
    rows = [_rows(x.to(sequence), sequence.shape[2]) for x in (pooled, mask) if x is not None]
    return torch.cat([sequence, *rows], 1)


def unpack(
    states: Tensor, length: int, *, pooled: int = 0, masked: bool = False
) -> tuple[Tensor, Tensor, Tensor | None]:
    """What `pack` was given: sequence [B, L, D], pooled [B, P] of width P (empty for 0), mask [B, L] or None."""
    wide = states.shape[2]
    after = length + rows_of(pooled, wide)
    mask = states[:, after:].flatten(1)[:, :length] > 0.5 if masked else None
    return states[:, :length], states[:, length:after].flatten(1)[:, :pooled], mask


def rows_of(count: int, wide: int) -> int:
    """How many rows so many values take."""
    return -(-count // wide)


def longest(mask: Tensor) -> int:
    """The places of the longest text; of a mask without values, all."""
    return mask.shape[1] if mask.is_meta else int(mask.sum(1).max())


def _rows(x: Tensor, wide: int) -> Tensor:
    """[B, P] -> [B, ceil(P / D), D], filled up with zeros"""
    count = rows_of(x.shape[1], wide)
    return torch.nn.functional.pad(x, (0, count * wide - x.shape[1])).view(len(x), count, wide)
