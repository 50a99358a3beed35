"""Self-attention shared with a reference row (StyleAligned, arXiv:2312.02133)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from limner.core.types import acting_in

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.types import AttentionCall, AttentionOp


def shared_reference(*, normalise: bool = True, shift: float = math.log(2)) -> AttentionOp:
    """Every row of a branch also attends to the keys and values of the branch's first row, the reference stream.

    At another scale, statistics move by that share, and the reference's keys are weighted by it.

    normalise: first give queries and keys the reference's statistics (AdaIN, Eq. 3)
    shift: added to the logits of the reference's keys; log 2 for an inverted real picture, 0 for one sampled alongside
    """
    return _shared(normalise, shift, 1.0)


def _shared(normalise: bool, shift: float, scale: float) -> AttentionOp:
    more_shift = shift + math.log(scale) if scale != 1 else shift

    @acting_in("self", "joint", "merged")
    def operation(call: AttentionCall) -> AttentionCall:
        import torch

        from limner.bases.common.attention import replaced

        if call.site.kind == "cross" or not call.run.reference_stream:
            return call
        parts = len(call.run.branches)
        query, key, value = call.query[:, :, call.picture], call.key[:, :, call.picture_keys], call.value
        if normalise:
            near = (adain(x, reference_rows(x, parts)) for x in (query, key))
            query, key = (y if scale == 1 else x.lerp(y, scale) for x, y in zip((query, key), near, strict=True))
            call.query, call.key = (
                replaced(call.query, call.picture, query),
                replaced(call.key, call.picture_keys, key),
            )
        call.key = torch.cat([call.key, reference_rows(key, parts)], dim=2)
        call.value = torch.cat([value, reference_rows(value[:, :, call.picture_keys], parts)], dim=2)
        if more_shift or call.bias is not None:
            more, before = key.shape[2], value.shape[2]
            bias = query.new_zeros(1, 1, 1, before) if call.bias is None else call.bias
            bias = torch.cat([bias, bias.new_full((*bias.shape[:-1], more), more_shift)], -1)
            call.bias = bias.expand(len(query), -1, call.query.shape[2], -1)
        return call

    operation.at_scale = lambda wanted: _shared(normalise, shift, wanted)  # type: ignore[attr-defined]  # functions stay functions
    return operation


def reference_rows(x: Tensor, branches: int) -> Tensor:
    """The same shape, every row replaced by the first of its branch.

    x: [B, ...], branch-major
    branches: number of branches
    """
    each = x.shape[0] // branches
    grouped = x.view(branches, each, *x.shape[1:])
    return grouped[:, :1].expand_as(grouped).reshape(x.shape)


def adain(x: Tensor, reference: Tensor) -> Tensor:
    """x with the mean and standard deviation over N of the reference (arXiv:1703.06868).

    x: [B, H, N, d]
    reference: [B, H, N, d]
    """
    mean, std = x.mean(2, keepdim=True), x.std(2, keepdim=True) + 1e-5
    wanted_mean, wanted_std = reference.mean(2, keepdim=True), reference.std(2, keepdim=True) + 1e-5
    return (x - mean) / std * wanted_std + wanted_mean
