"""The union of concept neurons: weights that any of the concepts sets to zero are zero (Cones)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from limner.engine.attach import parameter
from limner.errors import InputError

from .changes import Member, Merging

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base


def neuron_union() -> Merging:
    """The product of the concepts' masks times the base's weights, in any order (Sec. 3.3 of arXiv:2303.05125).

    Raises `InputError` for a concept that changes a weight to any other value than zero.
    """

    def merging(members: Sequence[Member], base: Base) -> dict[str, Tensor]:
        import torch

        merged_changes = {}
        for name in sorted({name for member in members for name in member.changes}):
            now = parameter(base, name).detach()
            shut = torch.zeros_like(now, dtype=torch.bool)
            for member in members:
                shut |= _shut_by(member, name, now)
            merged_changes[name] = torch.where(shut, -now, torch.zeros_like(now))
        return merged_changes

    return merging


def _shut_by(member: Member, name: str, now: Tensor) -> Tensor:
    """Mask of the weights of a parameter that a concept sets to zero."""
    import torch

    change = member.changes.get(name)
    if change is None:
        return torch.zeros_like(now, dtype=torch.bool)
    moved = change != 0
    if not bool((change[moved] == -now[moved]).all()):
        raise InputError(
            f"{member.handle} changes {name} in other ways than by shutting weights, so it has no concept neurons to unite; train it with "
            "the method 'cones', or merge by 'gradient-fusion' or 'average'"
        )
    return moved
