"""Reconstruction through guidance: training sees the guided prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.core.recipe import Objective

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Step
    from limner.core.recipe import Source


def guided_denoising(source: Source, *, word: str, against: str, scale: float, pixels: float = 0.0) -> Objective:
    """Squared error of the guided prediction negative + scale * (text - negative) (Eq. 4 and 6 of arXiv:2211.11337).

    The picture term compares with the batch's latents decoded, so that the autoencoder's own error does not count.

    source: batches of the subject
    word: the token
    against: the token that stands in its place in prompts of the negative branch
    scale: guidance scale
    pixels: weight of the mean absolute error of the picture decoded from the guided estimate of x_0
    """

    def value(step: Step) -> Tensor:
        import torch

        text, base = step.prediction.output, step.adapted.base
        negative = step.prediction_for([prompt.replace(word, against) for prompt in step.batch.prompts]).output
        guided = negative + scale * (text - negative)
        error = (guided.float() - step.target.float()).square().mean()
        if not pixels:
            return error
        with torch.no_grad():
            shown = base.decode(step.batch.latents)
        estimate = base.x0(base.noised(step.batch.latents, step.noise, step.time), guided, step.time)
        return error + pixels * (base.decode(estimate).float() - shown.float()).abs().mean()

    return Objective(f"guided denoising({source.name})", source, value)
