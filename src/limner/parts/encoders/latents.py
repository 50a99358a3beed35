"""The autoencoder as an encoder of pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base
    from limner.core.types import References


def encoded(base: Base, shown: References, *, plain: bool) -> tuple[Tensor, Tensor]:
    """Latents [B, R, C, h, w] of references, and masks of the subject [B, R, 1, h, w], 1 where unknown. No gradient.

    base: the base
    shown: the references
    plain: whether the subject stands on a plain background
    """
    import torch
    import torch.nn.functional as F

    from limner.parts.augmentations.plain import on_plain

    pixels, size = shown.pixels, base.latent_shape[1:]
    if plain and shown.masks is not None:
        pixels = on_plain(pixels, shown.masks)
    with torch.no_grad():
        latents = base.encode(pixels.flatten(0, 1))[0].to(base.dtype).unflatten(0, pixels.shape[:2])
    if shown.masks is None:
        return latents, torch.ones_like(latents[:, :, :1])
    where = F.interpolate(shown.masks.flatten(0, 1), size, mode="area").unflatten(0, pixels.shape[:2])
    return latents, where.to(latents)
