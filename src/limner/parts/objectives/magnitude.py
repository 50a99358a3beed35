"""Intermediate tensors of a run kept small."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.core.recipe import Objective

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Step
    from limner.core.recipe import Source


def squared_length(source: Source, of: str) -> Objective:
    """Mean squared length of the vectors of a tensor that the run kept; zero where there is none.

    source: batches with references
    of: beginning of the tensor's name
    """

    def value(step: Step) -> Tensor:
        output, run = step.prediction.output, step.prediction.run
        kept_tensors = [x for name, x in (run.activations if run else {}).items() if name.startswith(of)]
        lengths = [x.float().square().sum(-1).mean() for x in kept_tensors]
        return sum(lengths[1:], lengths[0]) if lengths else output.new_zeros(())

    return Objective(f"squared length of {of}({source.name})", source, value, across=True)


def magnitude(source: Source, of: str) -> Objective:
    """Mean absolute value of tensors that the run kept (Eq. 4 and 7 of arXiv:2302.13848); zero where there are none.

    source: batches with references
    of: beginning of their names: tokens made of pictures, or values of details
    """

    def value(step: Step) -> Tensor:
        import torch

        output, run = step.prediction.output, step.prediction.run
        magnitudes = [
            x.float().abs().mean() for name, x in (run.activations if run else {}).items() if name.startswith(of)
        ]
        return torch.stack(magnitudes).mean() if magnitudes else output.new_zeros(())

    return Objective(f"magnitude of {of}({source.name})", source, value, across=True)
