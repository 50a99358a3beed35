"""Identity of the subject in the predicted picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.core.recipe import Objective
from limner.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Step
    from limner.core.base import Base
    from limner.core.capabilities import PixelEncoder
    from limner.core.recipe import Source
    from limner.core.types import References


def same_identity(source: Source, *, encoder: str | PixelEncoder = "") -> Objective:
    """Squared distance of unit embeddings of the decoded estimate of x_0 and of the row's first reference.

    This is the identity loss of arXiv:2304.02642, which gives no formula to check against. Where there are masks, both
    show the subject alone. A row counts by 1 - t / T: a noisier x_0 is less reliable; dropped rows do not count. The
    gradient passes decoder and encoder, so the source's batches should be small.

    source: batches with references
    encoder: a role of the base's encoders, such as "face", or a function of pixels [n, 3, H, W] in [0, 1] -> [n, D];
        with either, decoded pictures are not clamped to [0, 1], so that gradients pass everywhere. Empty is the base's
        CLIP, with clamped pictures
    """

    def value(step: Step) -> Tensor:
        import torch
        import torch.nn.functional as F

        base, references = step.adapted.base, step.batch.references
        assert references is not None
        look = encoder_of(base, encoder)
        pixels = base.decode(step.x0, clamp=False) if encoder else base.decode(step.x0)
        shown = _alone(pixels.float(), step.batch.mask)
        with torch.no_grad():
            wanted = F.normalize(look(_first(references)).float(), dim=-1)
        embeddings = F.normalize(look(shown).float(), dim=-1)
        counts = (1 - step.time / base.num_train_times) * references.on.to(step.time.device)
        apart = (embeddings - wanted).square().sum(-1)
        return (apart * counts).sum() / counts.sum().clamp_min(1e-6)

    role = f"{encoder}, " if isinstance(encoder, str) and encoder else ""
    return Objective(f"same identity({role}{source.name})", source, value, across=True)


def encoder_of(base: Base, encoder: str | PixelEncoder) -> PixelEncoder:
    """The encoder of a role, a function itself, or for "" the base's CLIP.

    Raises `InputError` for a role that the base does not have.

    base: the base
    encoder: a role of the base's encoders, a function of pixels [n, 3, H, W] in [0, 1] -> [n, D], or ""
    """
    if not isinstance(encoder, str):
        return encoder
    if not encoder:
        return base.picture_features
    if encoder not in base.encoders:
        known = ", ".join(sorted(base.encoders)) or "none"
        raise InputError(
            f"{base.name} has no encoder for {encoder!r} (it has {known}), which this method needs: use a base "
            "that comes with one, or give the objective a function of pixels"
        )
    return base.encoders[encoder]


def _first(references: References) -> Tensor:
    return _alone(references.first, None if references.masks is None else references.masks[:, 0])


def _alone(pixels: Tensor, mask: Tensor | None) -> Tensor:
    """[B, 3, H, W]: the part of the picture under the mask [B, 1, h, w], on a plain background."""
    import torch.nn.functional as F

    from limner.parts.augmentations.plain import on_plain

    if mask is None:
        return pixels
    return on_plain(pixels, F.interpolate(mask.to(pixels), pixels.shape[-2:], mode="bilinear"))
