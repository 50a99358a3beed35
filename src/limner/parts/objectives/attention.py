"""A token's cross-attention localised on the subject's mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.core.needs import cross_attention
from limner.core.recipe import Objective
from limner.errors import InputError
from limner.parts.modifiers.watched import maps_of, watched_word

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Step
    from limner.core.recipe import Source


def attention_on_mask(
    source: Source, watched: watched_word, *, floor: bool = False, named: bool = False, own: str = ""
) -> Objective:
    """Mean squared error between a token's attention and the mask (Eq. 3 of arXiv:2305.16311).

    source: batches with masks
    watched: the modifier whose token is watched
    floor: whether attention is scaled to a minimum of 0 as well as to a maximum of 1
    named: whether only rows count whose prompt has the token; otherwise attention is 0 in the other rows
    own: name of the condition that holds the token's mask; empty for the mask of the loss
    """

    def value(step: Step) -> Tensor:
        import torch.nn.functional as F

        prediction, mask = step.prediction, step.batch.conditions.get(own) if own else step.batch.mask
        if mask is None or prediction.run is None:
            raise InputError(f"{source.name} gives no masks, which this objective compares attention with")
        maps = maps_of(prediction.run.activations, watched)[prediction.rows].float()
        maps = maps - maps.amin((1, 2), keepdim=True) if floor else maps
        maps = maps / maps.amax((1, 2), keepdim=True).clamp_min(1e-8)
        wanted = F.interpolate((mask > 0.5).float(), maps.shape[-2:], mode="area")[:, 0].to(maps)
        errors = (maps - wanted).square()
        if not named:
            return errors.mean()
        there = (maps.detach().amax((1, 2)) > 0).to(errors)
        return (errors.mean((1, 2)) * there).sum() / there.sum().clamp_min(1)

    return Objective(f"attention on mask({source.name})", source, value, across=named, needs=(cross_attention,))


def attention_within_mask(source: Source, watched: watched_word) -> Objective:
    """Mean of a token's attention outside of the mask, after scaling its maximum to 1.

    This is the regulariser of a concept's random token in the authors' code of arXiv:2305.18292.

    source: batches with masks
    watched: the modifier whose token is watched
    """

    def value(step: Step) -> Tensor:
        import torch.nn.functional as F

        prediction, mask = step.prediction, step.batch.mask
        if mask is None or prediction.run is None:
            raise InputError(f"{source.name} gives no masks, which this objective compares attention with")
        maps = maps_of(prediction.run.activations, watched)[prediction.rows].float()
        maps = maps / maps.amax((1, 2), keepdim=True).clamp_min(1e-8)
        outside = 1 - F.interpolate((mask > 0.5).float(), maps.shape[-2:], mode="area")[:, 0].to(maps)
        return ((maps * outside).sum((1, 2)) / outside.sum((1, 2)).clamp_min(1e-6)).mean()

    return Objective(f"attention within mask({source.name})", source, value, needs=(cross_attention,))


def attention_refocused(source: Source, watched: watched_word, *, outside: bool = False) -> Objective:
    """Mean squared attention of a token away from its region, after scaling its map from 0 to 1.

    This is the Attention Refocusing loss of arXiv:2309.06895 as in its authors' code: attention within the region has
    no target. They scale each head's map before they average; here heads are averaged first. Rows without the token do
    not count.

    source: batches with masks
    watched: the modifier whose token is watched
    outside: whether the token's region is outside of the mask
    """

    def value(step: Step) -> Tensor:
        import torch.nn.functional as F

        prediction, mask = step.prediction, step.batch.mask
        if mask is None or prediction.run is None:
            raise InputError(f"{source.name} gives no masks, which this objective compares attention with")
        maps = maps_of(prediction.run.activations, watched)[prediction.rows].float()  # [B, h, w]
        there = (maps.detach().amax((1, 2)) > 0).to(maps)
        maps = maps - maps.amin((1, 2), keepdim=True)
        maps = maps / maps.amax((1, 2), keepdim=True).clamp_min(1e-8)
        inside = F.interpolate((mask > 0.5).float(), maps.shape[-2:], mode="area")[:, 0].to(maps)
        away = inside if outside else 1 - inside
        each: Tensor = (maps.square() * (away > 0.5)).mean((1, 2)) * there
        return each.sum() / there.sum().clamp_min(1)

    return Objective(
        f"attention of {watched.word} refocused({source.name})", source, value, across=True, needs=(cross_attention,)
    )
