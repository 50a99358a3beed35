"""Identity of the subject in the predicted picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.core.recipe import Objective

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Step
    from limner.core.recipe import Source
    from limner.core.types import References


def same_identity(source: Source) -> Objective:
    """Squared distance of unit CLIP embeddings of the decoded estimate of x_0 and of the row's first reference.

    This is the identity loss of arXiv:2304.02642, which gives no formula to check against. Where there are masks, both
    show the subject alone. A row counts by 1 - t / T: a noisier x_0 is less reliable; dropped rows do not count. The
    gradient passes decoder and CLIP, so the source's batches should be small.
    """

    def value(step: Step) -> Tensor:
        import torch
        import torch.nn.functional as F

        base, references = step.adapted.base, step.batch.references
        assert references is not None
        shown = _alone(base.decode(step.x0).float(), step.batch.mask)
        with torch.no_grad():
            wanted = F.normalize(base.picture_features(_first(references)).float(), dim=-1)
        found = F.normalize(base.picture_features(shown).float(), dim=-1)
        counts = (1 - step.time / base.num_train_times) * references.on.to(step.time.device)
        apart = (found - wanted).square().sum(-1)
        return (apart * counts).sum() / counts.sum().clamp_min(1e-6)

    return Objective(f"same identity({source.name})", source, value, across=True)


def _first(references: References) -> Tensor:
    return _alone(references.first, None if references.masks is None else references.masks[:, 0])


def _alone(pixels: Tensor, mask: Tensor | None) -> Tensor:
    """[B, 3, H, W]: what the mask [B, 1, h, w] shows, on plain ground."""
    import torch.nn.functional as F

    from limner.parts.augmentations.plain import on_plain

    if mask is None:
        return pixels
    return on_plain(pixels, F.interpolate(mask.to(pixels), pixels.shape[-2:], mode="bilinear"))
