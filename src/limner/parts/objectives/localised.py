"""Attention to words concentrated on the subject's mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.core.needs import cross_attention
from limner.core.recipe import Objective
from limner.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Step
    from limner.core.recipe import Source
    from limner.parts.modifiers.watched import watched_word


def localised(source: Source, watched: watched_word, *, most: int = 256) -> Objective:
    """Mean over layers of a word's mean attention outside of the mask minus that inside of it.

    This is the balanced L1 loss (Eq. 5 of arXiv:2305.10431), over rows whose prompt has the word. Raises `InputError`
    without masks, and on a base without cross-attention.

    source: batches with masks
    watched: the modifier that keeps the word's maps
    most: largest number of positions of a layer that counts
    """

    def value(step: Step) -> Tensor:
        import torch
        import torch.nn.functional as F

        prediction, mask = step.prediction, step.batch.mask
        if mask is None or prediction.run is None:
            raise InputError(f"{source.name} gives no masks, which this objective compares attention with")
        terms = []
        for name, maps in prediction.run.activations.items():
            if not name.startswith(f"{watched.key}, ") or maps.shape[1] > most:
                continue
            own = maps[prediction.rows].float()
            inside = F.adaptive_avg_pool2d(mask.float(), round(own.shape[1] ** 0.5)).flatten(1).to(own)
            there = (own.detach().amax(1) > 0).to(own)
            apart = _mean(own, 1 - inside) - _mean(own, inside)
            terms.append((apart * there).sum() / there.sum().clamp_min(1))
        if not terms:
            raise InputError(
                "this base has no cross-attention layer, whose maps this objective needs: use one that has"
            )
        return torch.stack(terms).mean()

    return Objective(f"localised({source.name})", source, value, across=True, needs=(cross_attention,))


def _mean(maps: Tensor, weight: Tensor) -> Tensor:
    """[B]: weighted mean of maps [B, N] with weights [B, N]."""
    return (maps * weight).sum(1) / weight.sum(1).clamp_min(1e-6)
