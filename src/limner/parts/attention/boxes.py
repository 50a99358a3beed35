"""Attention of a token guided into a region while sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.core.types import Prediction
from limner.errors import InputError

from .maps import keep_maps, kept_maps

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import LatentOperation, Moment

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, as shares of the picture."""


def box_of(text: str) -> Box | None:
    """A box from four numbers, "0.2,0.3,0.8,1"; None for an empty text. Raises `InputError` for anything else.

    text: left, top, right, bottom, as shares of the picture, with commas between them
    """
    if not text:
        return None
    try:
        left, top, right, bottom = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"a box is four numbers such as '0.2,0.3,0.8,1', not {text!r}") from error
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise InputError(f"a box is left,top,right,bottom within 0 and 1, not {text!r}")
    return left, top, right, bottom


def drawn_into(
    word: str,
    box: Box | None = None,
    *,
    strength: float = 30.0,
    until: float = 0.4,
    enough: float = 0.2,
    tries: int = 5,
) -> LatentOperation:
    """Gradient steps on the latents that move a token's attention into a region (Sec. 4.2 of arXiv:2312.08048).

    The loss is strength * (1 - inside)^2, where `inside` is the share of the token's attention in the region. That is
    the region that the user gives the token for a picture, else the box; without either, nothing acts.

    word: the token as prompts write it
    box: left, top, right, bottom, as shares of the picture, for pictures without regions
    strength: step size on the latents
    until: share of the sampling steps in which it acts, noisiest first
    enough: value of (1 - inside)^2 at which it ends, 0 to 1
    tries: gradient steps in a sampling step, at most
    """

    def operation(moment: Moment) -> Tensor:
        import torch

        rows = [k for k, prompt in enumerate(moment.prompts) if word in prompt]
        region = moment.regions.get(word, None if box is None else region_of(box, moment.latents))
        if moment.step >= until * moment.total or not rows or region is None:
            return moment.latents
        x = moment.latents.clone()
        for _ in range(tries):
            part = x[rows].detach().requires_grad_(True)
            with torch.enable_grad():
                missing = (1 - _inside(moment, part, rows, word, region)).square()
                far = missing[missing > enough]
                if not len(far):
                    break
                (gradient,) = torch.autograd.grad(strength * far.sum(), part)
            x[rows] = x[rows] - gradient
        return x

    return operation


def region_of(box: Box, latents: Tensor) -> Tensor:
    """[1, 1, h, w]: 1 inside of a box, 0 outside.

    box: left, top, right, bottom, as shares of the picture
    latents: latents of the picture's size [B, C, h, w]
    """
    region = latents.new_zeros(1, 1, *latents.shape[2:])
    height, width = latents.shape[2:]
    left, right = (round(edge * width) for edge in box[::2])
    top, bottom = (round(edge * height) for edge in box[1::2])
    region[..., top:bottom, left:right] = 1
    return region


def _inside(moment: Moment, latents: Tensor, rows: list[int], word: str, region: Tensor) -> Tensor:
    """[rows]: the share of the word's attention in the region."""
    import torch
    import torch.nn.functional as F

    base, words = moment.adapted.base, moment.adapted.words
    prompts = tuple(moment.prompts[row] for row in rows)
    time = moment.time.expand(len(rows))
    conditions = {name: condition[rows] for name, condition in moment.conditions.items()}
    run = moment.adapted.run(time=time, latents=latents, prompts=prompts, conditions=conditions)
    run.operations += (keep_maps(),)
    output = base.predict(latents, time, moment.states[rows], context=run)
    maps = kept_maps(Prediction(output, run))
    places = [base.word_places(text, word, words=words)[0] for text in prompts]
    own = torch.stack([maps[k, :, place] for k, place in enumerate(places)])
    side = round(own.shape[1] ** 0.5)
    where = F.adaptive_avg_pool2d(region.to(own), side).flatten(1)
    return (own * where).sum(1) / own.sum(1).clamp_min(1e-8)
