"""Gradient steps on the latents until a token's attention lies in a mask, while sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.parts.attention.maps import word_maps

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import LatentOperation, Moment


def attention_into_mask(word: str, *, size: float = 0.01, end: float = 0.6) -> LatentOperation:
    """One step of Adam on the latents towards attention inside the canvas' mask (Sec. 3.3 of arXiv:2311.17083).

    The loss is the squared difference between the token's attention, scaled to [0, 1], and the mask. Without a canvas
    the latents stay.

    word: the token as prompts write it
    size: size of the step in every element, that of the first step of Adam
    end: share of the sampling steps in which it acts
    """

    def operation(moment: Moment) -> Tensor:
        import torch

        rows = [k for k, text in enumerate(moment.prompts) if word in text]
        if not rows or moment.where is None or moment.step >= end * moment.total:
            return moment.latents
        with torch.enable_grad():
            x = moment.latents[rows].detach().requires_grad_(True)
            (slope,) = torch.autograd.grad(_missed(moment, x, rows, word, moment.where), x)
        moved = moment.latents.clone()
        moved[rows] -= size * slope / (slope.abs() + 1e-8)
        return moved

    return operation


def _missed(moment: Moment, x: Tensor, rows: list[int], word: str, where: Tensor) -> Tensor:
    import torch.nn.functional as F

    own = word_maps(moment, x, rows, word)
    own = (own - own.amin(1, keepdim=True)) / (own.amax(1, keepdim=True) - own.amin(1, keepdim=True)).clamp_min(1e-8)
    side = round(own.shape[1] ** 0.5)
    wanted = F.interpolate(where, (side, side), mode="area").flatten(1)
    return (own - wanted).square().mean(1).sum()
