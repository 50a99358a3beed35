"""Statistics of a reference at the positions that attend to a token, while sampling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from limner.core.types import Live
from limner.parts.attention.maps import word_maps
from limner.parts.encoders.masks import subject_masks
from limner.parts.modifiers.image_attention import otsu

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.adapted import LatentOperation, Moment
    from limner.core.base import Base
    from limner.core.subject import Subject

LATENTS, MASK = "reference.masked.latents", "reference.masked.mask"


@dataclass(frozen=True)
class masked_reference:
    """The latents [1, C, h, w] of the subject's first picture and its mask [1, 1, h, w], stored with the concept.

    subject: the subject with its pictures
    """

    subject: Subject

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        import torch
        import torch.nn.functional as F

        if LATENTS in stored:
            tensors = {name: stored[name].to(base.device, base.dtype) for name in (LATENTS, MASK)}
        elif not self.subject.pictures:
            latents = torch.zeros(1, *base.latent_shape, device=base.device, dtype=base.dtype)
            tensors = {LATENTS: latents, MASK: latents[:, :1]}
        else:
            with torch.no_grad():
                latents = base.encode(self.subject.tensor(base.picture_size)[:1])[0]
            mask = F.interpolate(subject_masks(base, self.subject)[:1].float(), latents.shape[-2:], mode="area")
            tensors = {LATENTS: latents, MASK: (mask > 0.5).to(latents)}
        yield Live(tensors)


def reference_statistics(
    reference: masked_reference, word: str, prompt: str, *, strength: float, begin: float = 0.2, end: float = 0.8
) -> LatentOperation:
    """Latents that attend to a token take on the reference's mean and standard deviation (arXiv:2312.00079).

    Statistics are per channel, over the reference's subject at the same noise: the reference at each noise is its DDIM
    inversion. Attention above Otsu's threshold counts.

    reference: the masked reference image
    word: the token as prompts write it
    prompt: prompt of the inversion
    strength: share of the way to the reference's statistics, 0 to 1
    begin: share of the sampling steps at which it begins
    end: share of the sampling steps at which it ends
    """

    def operation(moment: Moment) -> Tensor:
        import torch

        from limner.engine.sample import inverted

        rows = [k for k, text in enumerate(moment.prompts) if word in text]
        if not rows or not begin * moment.total <= moment.step < end * moment.total:
            return moment.latents
        adapted, tensors = moment.adapted, moment.adapted.live[reference].tensors
        key = (id(reference), moment.total)
        if key not in adapted.cache:
            adapted.cache[key] = inverted(adapted.base, tensors[LATENTS], prompt, moment.total)
        shown = adapted.cache[key][moment.step][None]
        x = moment.latents.clone()
        where = _read(moment, rows, word).to(x)
        mean, std = _statistics(shown, tensors[MASK].to(x))
        own_mean, own_std = _statistics(x[rows], where)
        moved = (x[rows] - own_mean) / own_std * std + mean
        x[rows] = torch.lerp(x[rows], moved, strength * where)
        return x

    return operation


def _statistics(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [B, C, 1, 1] of x [B, C, h, w] where the mask [B, 1, h, w] is 1."""
    count = mask.sum((2, 3), keepdim=True).clamp_min(1)
    mean = (x * mask).sum((2, 3), keepdim=True) / count
    return mean, (((x - mean).square() * mask).sum((2, 3), keepdim=True) / count).sqrt().clamp_min(1e-4)


def _read(moment: Moment, rows: list[int], word: str) -> Tensor:
    """[rows, 1, h, w] of 0 and 1: positions of the latents that attend to the word."""
    import torch.nn.functional as F

    own = otsu(word_maps(moment, moment.latents[rows], rows, word))
    side = round(own.shape[1] ** 0.5)
    return F.interpolate(own.unflatten(1, (side, side))[:, None], moment.latents.shape[-2:], mode="nearest")
