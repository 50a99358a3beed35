"""The average and the weighted sum of changes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from limner.errors import InputError

from .changes import Member, Merging, over_all

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base


def average() -> Merging:
    """The mean of the concepts' changes: W + sum over k of change_k / K."""

    def merging(members: Sequence[Member], base: Base) -> dict[str, Tensor]:
        share = 1 / len(members)
        return over_all(members, lambda changes: sum((share * c for c in changes[1:]), share * changes[0]))

    return merging


def weighted(weights: Sequence[float] = ()) -> Merging:
    """The weighted sum of the concepts' changes: W + sum over k of w_k * change_k.

    This is the weight fusion that Mix-of-Show compares with (Eq. 2 of arXiv:2305.18292). Raises `InputError` for
    another number of weights than concepts.

    weights: one for each concept, in their order; empty is 1 each
    """

    def merging(members: Sequence[Member], base: Base) -> dict[str, Tensor]:
        chosen = list(weights) or [1.0] * len(members)
        if len(chosen) != len(members) or not all(math.isfinite(weight) for weight in chosen):
            raise InputError(f"expected one weight for each of {len(members)} concepts, not {list(weights)}")

        def combine(changes: list[Tensor]) -> Tensor:
            parts = [weight * change for weight, change in zip(chosen, changes, strict=True)]
            return sum(parts[1:], parts[0])

        return over_all(members, combine)

    return merging
