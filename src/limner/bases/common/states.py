"""Text-encoder hidden states as one tensor.

A denoiser reads a prompt as [L, D]: a hidden state for each position. Some families also read a global vector (pooled)
or a mask of the positions that hold text. Both are appended as further rows, so that a prompt stays one tensor, which
can be cached, stacked and interpolated like any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def pack(sequence: Tensor, *, pooled: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
    """Append the global vector and the mask to the hidden states as rows: [B, L + rows, D].

    sequence: hidden states [B, L, D]
    pooled: global vector [B, P]; None where the family has none
    mask: [B, L], 1 where there is text; None where the family has none
    """
    rows = [_rows(x.to(sequence), sequence.shape[2]) for x in (pooled, mask) if x is not None]
    return torch.cat([sequence, *rows], 1)


def unpack(
    states: Tensor, length: int, *, pooled: int = 0, masked: bool = False
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Split the result of `pack` into sequence [B, L, D], global vector [B, P] and mask [B, L] or None.

    states: [B, L + rows, D]
    length: L
    pooled: P; 0 where there is no global vector
    masked: whether there is a mask
    """
    wide = states.shape[2]
    after = length + rows_of(pooled, wide)
    mask = states[:, after:].flatten(1)[:, :length] > 0.5 if masked else None
    return states[:, :length], states[:, length:after].flatten(1)[:, :pooled], mask


def rows_of(count: int, wide: int) -> int:
    """Number of rows of width `wide` that hold `count` values."""
    return -(-count // wide)


def longest(mask: Tensor) -> int:
    """Number of positions of the longest text in a mask [B, L]; L for a mask on the meta device."""
    return mask.shape[1] if mask.is_meta else int(mask.sum(1).max())


def _rows(x: Tensor, wide: int) -> Tensor:
    """[B, P] -> [B, ceil(P / D), D], padded with zeros."""
    count = rows_of(x.shape[1], wide)
    return torch.nn.functional.pad(x, (0, count * wide - x.shape[1])).view(len(x), count, wide)
