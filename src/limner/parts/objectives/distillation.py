"""What the base says of the class, kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.core.recipe import Objective

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Step
    from limner.core.recipe import Source


def distillation(source: Source, prompt: str) -> Objective:
    """Squared difference between what is predicted of the source's noised latents with this prompt and what the untouched
    base predicts: a prior that needs no pictures of the class."""

    def value(step: Step) -> Tensor:
        said = [prompt] * len(step.batch.prompts)
        before = step.base_prediction(said).output
        return (step.prediction_for(said).output.float() - before.float()).square().mean()

    return Objective(f"distillation({source.name})", source, value)
