"""Concepts added one after another, each with smaller changes where earlier ones changed weights (C-LoRA)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .changes import Member, Merging, over_all

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base


def continual(*, strength: float = 10.0) -> Merging:
    """The sum of changes, each shrunk where the sum of those before it is large.

    The change D' nearest to a concept's own D under C-LoRA's penalty strength * ||F * D'||^2, with F the sum of earlier
    changes (Eq. 3 of arXiv:2304.06027), has the closed form D' = D / (1 + strength * F^2). The order of the concepts
    therefore matters, and the first keeps its change.

    strength: factor of the penalty, 0 or more; F is divided by its root mean square in the layer
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
    """D / (1 + strength * F^2), with F divided by its root mean square.

    change: the change D
    former: the sum F of earlier changes, in the same shape
    strength: factor of the penalty, 0 or more
    """
    mean = former.square().mean().clamp_min(1e-30)
    return change / (1 + strength * former.square() / mean)
