"""One concept after another, each kept away from the weights that those before it changed (C-LoRA)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .changes import Member, Merging, over_all

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base


def continual(*, strength: float = 10.0) -> Merging:
    """The sum of changes, each shrunk where the sum of those before it is large: the change D' nearest to a concept's
    own D under the penalty of C-LoRA, strength * ||F * D'||^2 with F the sum of former changes (Eq. 3 of
    arXiv:2304.06027), which has the closed form D' = D / (1 + strength * F^2). So the order of the concepts matters,
    and the first is kept as it is.

    strength: of the penalty, where F is measured by its root mean square in the layer
    """

    def merging(members: Sequence[Member], base: Base) -> dict[str, Tensor]:
        def combine(changes: list[Tensor]) -> Tensor:
            total = changes[0]
            for change in changes[1:]:
                total = total + kept_apart(change, total, strength)
            return total

        return over_all(members, combine)

    return merging


def kept_apart(change: Tensor, former: Tensor, strength: float) -> Tensor:
    """D / (1 + strength * F^2), F the former changes by their root mean square."""
    mean = former.square().mean().clamp_min(1e-30)
    return change / (1 + strength * former.square() / mean)
