"""A low-rank change of the denoiser in some branches of guidance alone: two denoisers that share the base's weights
(Face-Diffuser, arXiv:2311.10329)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from limner.core.types import Live
from limner.errors import InputError

from .branch_rows import in_rows, rows_of_branches
from .low_rank import beside, factors_of

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.types import Pass


@dataclass(frozen=True)
class branch_low_rank:
    """`low_rank`, whose change acts in some rows of a run.

    In sampling these are the rows of the named branches. In training these are all rows of runs whose batch has
    references, or of those whose batch has none, so that two such changes learn apart from each other.

    rank: rank of the change, 1 or more
    branches: branches of guidance in which it acts
    shown: whether it learns from batches with references (True) or without (False)
    layers: a set of layers that the base names
    name: prefix of its tensors' names
    """

    rank: int
    branches: tuple[str, ...]
    shown: bool
    layers: str = "attention"
    name: str = "branch"

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        if self.rank < 1:
            raise InputError(f"the rank must be at least 1, not {self.rank}")
        live = Live()
        with ExitStack() as stack:
            for name, layer in base.projections(self.layers).items():
                factors = factors_of(f"{self.name}.{name}", layer, self.rank, stored, generator)
                live.tensors |= factors
                down, up = factors.values()
                if scale:
                    hook = in_rows(beside(down, up, scale, live), live, self.rows_of)
                    stack.callback(layer.register_forward_hook(hook).remove)
            yield live

    def rows_of(self, run: Pass, count: int) -> list[int]:
        """The rows in which the change acts.

        run: the run
        count: number of rows, branch after branch
        """
        if run.random is not None:
            return list(range(count)) if (run.references is not None) == self.shown else []
        return rows_of_branches(run, count, self.branches)
