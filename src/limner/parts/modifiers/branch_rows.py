"""Changes of layers that act in some rows of a run: those of named branches of guidance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

    from limner.core.types import Live, Pass


def in_rows(
    change: Callable[[nn.Module, Any, Tensor], Tensor], live: Live, rows_of: Callable[[Pass, int], Sequence[int]]
) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    """A hook that restricts another one to the rows of a layer's output in which it acts.

    change: the hook: layer, inputs and output -> the changed output
    live: the attached modifier, which knows the run
    rows_of: the run and the number of its rows -> the rows
    """
    import torch

    def hook(layer: nn.Module, inputs: Any, out: Tensor) -> Tensor:
        rows = rows_of(live.run, len(out)) if live.run is not None else []
        if not rows or len(rows) == len(out):
            return change(layer, inputs, out) if rows else out
        at = torch.tensor(rows, device=out.device)
        return out.index_copy(0, at, change(layer, (inputs[0][at],), out[at]))

    return hook


def rows_of_branches(run: Pass, count: int, branches: Sequence[str]) -> list[int]:
    """The rows of named branches of guidance.

    run: the run
    count: number of rows, branch after branch
    branches: names of the branches
    """
    each = count // len(run.branches)
    acting = (place for place, branch in enumerate(run.branches) if branch in branches)
    return [row for place in acting for row in range(place * each, (place + 1) * each)]
