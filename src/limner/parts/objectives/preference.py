"""Learning from pairs of pictures, of which a person prefers one (Diffusion-DPO, arXiv:2311.12908)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.core.recipe import Objective
from limner.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Step
    from limner.core.recipe import Source


def preference(source: Source, *, beta: float = 2000.0) -> Objective:
    """-log sigmoid of how much more the preferred pictures' errors fell than the others', against a fixed reference
    (Eq. 14 of arXiv:2311.12908, with a constant weight over time, as the authors train).

    The reference is the adapted base as it was at the start of the stage, which needs `momentum=1`. Errors are means
    over a picture's latents, as in the authors' code, so that `beta` has their scale (2000 to 5000). A base of masked
    tokens has cross-entropies as errors.

    source: batches whose second half are the pictures to move away from, row by row; both of a pair have one time
    beta: strength with which the reference holds the adapters back
    """

    def value(step: Step) -> Tensor:
        from torch.nn.functional import logsigmoid

        if len(step.batch.latents) % 2:
            raise InputError(f"{source.name} gives {len(step.batch.latents)} rows, which are no pairs")
        errors = _errors(step, step.prediction.output)
        first = _errors(step, step.momentum_prediction(text=True).output)
        fallen = (first - errors).chunk(2)
        return -logsigmoid(0.5 * beta * (fallen[0] - fallen[1])).mean()

    return Objective(f"preference({source.name})", source, value, any_target=True, across=True)


def _errors(step: Step, output: Tensor) -> Tensor:
    """[B]: the mean error of each row."""
    error, counts = step.adapted.base.error(output, step.target)
    if counts is None:
        return error.float().mean((1, 2, 3))
    return (error.float() * counts).sum((1, 2, 3)) / counts.sum((1, 2, 3)).clamp_min(1)
