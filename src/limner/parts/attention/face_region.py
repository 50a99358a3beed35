"""A token read within a face region alone: positions outside do not attend to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from limner.core.types import acting_in
from limner.parts.modifiers.states import word_places_of

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base
    from limner.core.types import AttentionCall, AttentionOp, Pass


def read_in_region(base: Base, word: str, region: Callable[[Pass], Tensor | None]) -> AttentionOp:
    """In cross-attention, positions outside of the region do not attend to the token; those inside read the whole
    prompt.

    This is masked cross-attention (Eq. 5 of arXiv:2404.19427) and multi-identity attention (Sec. 3.3 of
    arXiv:2312.02663). Rows without a region, or whose region is empty at a layer's resolution, read the whole prompt
    everywhere.

    base: the base, which knows the token's positions
    word: the token as prompts write it
    region: a run -> [rows, 1, h, w] of 0 and 1, or None where the run has none
    """

    @acting_in("cross")
    def operation(call: AttentionCall) -> AttentionCall:
        import torch
        import torch.nn.functional as F

        where = region(call.run)
        if call.site.kind != "cross" or where is None:
            return call
        side = round(call.query.shape[2] ** 0.5)
        inside = F.adaptive_max_pool2d(where.float(), side).flatten(1) > 0.5  # [rows, N]
        bias = call.query.new_zeros(len(inside), 1, call.query.shape[2], call.key.shape[2])
        for row in range(len(call.run.prompts)):
            places = word_places_of(base, call.run, row, word)
            if places and inside[row].any():
                bias[row, 0, :, places] = torch.where(inside[row], 0.0, float("-inf")).to(bias)[:, None]
        call.bias = bias if call.bias is None else call.bias + bias
        return call

    return operation
