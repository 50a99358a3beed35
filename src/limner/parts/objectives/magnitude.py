"""Things that a run made kept small."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.core.recipe import Objective

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Step
    from limner.core.recipe import Source


def magnitude(source: Source, of: str) -> Objective:
    """The mean absolute value of what the run kept under names that begin with `of`, the mean over them: of the words made
    of pictures, or of the values of details (Eq. 4 and 7 of arXiv:2302.13848). Zero in a run that made none."""

    def value(step: Step) -> Tensor:
        import torch

        output, kept = step.prediction.output, step.prediction.kept
        found = [x.float().abs().mean() for name, x in (kept.kept if kept else {}).items() if name.startswith(of)]
        return torch.stack(found).mean() if found else output.new_zeros(())

    return Objective(f"magnitude of {of}({source.name})", source, value, across=True)
