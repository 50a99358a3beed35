"""Predictions of the base for the class, preserved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.core.recipe import Objective

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Step
    from limner.core.recipe import Source


def distillation(source: Source, prompt: str) -> Objective:
    """Squared difference between predictions with and without the adapter: a prior without class images.

    source: batches of latents
    prompt: the prompt of both predictions
    """

    def value(step: Step) -> Tensor:
        prompts = [prompt] * len(step.batch.prompts)
        before = step.base_prediction(prompts).output
        return (step.prediction_for(prompts).output.float() - before.float()).square().mean()

    return Objective(f"distillation({source.name})", source, value)
