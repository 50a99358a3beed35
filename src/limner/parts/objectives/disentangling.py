"""The subject's identity separated from the traits of one picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.core.recipe import Objective

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Step
    from limner.core.recipe import Source


def without_picture(source: Source) -> Objective:
    """Denoising of the same noised latents from the text alone, in a run of its own (Eq. 5 of arXiv:2305.03374).

    source: batches with references
    """

    def value(step: Step) -> Tensor:
        output = step.prediction_for(step.batch.prompts).output
        return (output.float() - step.target.float()).square().mean()

    return Objective(f"without the picture({source.name})", source, value)


def picture_alone(source: Source) -> Objective:
    """Denoising of the same noised latents from the picture's own vector, without text, in a run of its own.

    source: batches with references
    """

    def value(step: Step) -> Tensor:
        empty = [""] * len(step.batch.prompts)
        output = step.prediction_for(empty, references=step.batch.references).output
        return (output.float() - step.target.float()).square().mean()

    return Objective(f"the picture alone({source.name})", source, value)


def apart(source: Source) -> Objective:
    """Cosine between the mean hidden state of the text and the picture's addition, minimised (Eq. 6 of
    arXiv:2305.03374).

    The decade survey calls it maximised; the authors' code minimises it.

    source: batches with references
    """

    def value(step: Step) -> Tensor:
        import torch

        run = step.prediction.run
        assert run is not None
        text = step.adapted.text_states(step.batch.prompts)[:, : step.adapted.base.text_positions].mean(1)
        cosine: Tensor = torch.cosine_similarity(
            text.float(), run.activations["image_added"][step.prediction.rows].float(), dim=-1
        ).mean()
        return cosine

    return Objective(f"apart({source.name})", source, value)
