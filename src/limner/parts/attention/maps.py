"""Attention maps kept for whoever asked for the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from limner.bases.attention import AttentionCall
    from limner.recipe import AttentionOp, Prediction


def keep_maps(*, kind: str = "cross") -> AttentionOp:
    """Keeps the maps of every site of a kind, the mean over heads: [rows, N, M]."""

    def operation(call: AttentionCall) -> AttentionCall:
        if call.site.kind == kind:

            def keep(maps: Tensor) -> Tensor:
                call.run.kept[f"maps, {call.site.name}"] = maps.mean(1)
                return maps

            call.on_maps.append(keep)
        return call

    return operation


def kept_maps(prediction: Prediction, *, most: int = 256) -> Tensor:
    """[rows, N, M]: the mean over the finest sites of at most `most` places, of a run with `keep_maps`."""
    import torch

    assert prediction.kept is not None
    found = [m for name, m in prediction.kept.kept.items() if name.startswith("maps, ") and m.shape[1] <= most]
    fine = max(m.shape[1] for m in found)
    return torch.stack([m for m in found if m.shape[1] == fine]).mean(0)[prediction.rows]
