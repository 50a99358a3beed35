"""Low-rank changes with orthogonal inputs: their row spaces are made orthogonal to each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from limner.errors import InputError

from .changes import Member, Merging

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base


def orthogonal() -> Merging:
    """The sum of changes after making their inputs orthogonal subspaces, so that concepts do not interfere.

    change_j change_k^T is then zero for any two, the condition of Orthogonal Adaptation (Eq. 5 of arXiv:2312.02432).
    The paper fixes the subspaces before training. Here concepts are trained already, and the orthonormal rows of all
    changes are replaced by the nearest ones that are orthonormal together (symmetric orthogonalisation, Loewdin 1950),
    so no concept is favoured. Raises `InputError` where the ranks sum to more than a layer has inputs.
    """

    def merging(members: Sequence[Member], base: Base) -> dict[str, Tensor]:
        merged_changes = {}
        for name in sorted({name for member in members for name in member.changes}):
            changes = [member.changes[name] for member in members if name in member.changes]
            if len(changes) == 1 or changes[0].ndim < 2:
                merged_changes[name] = sum(changes[1:], changes[0])
                continue
            parts = orthogonalised([change.flatten(1).float() for change in changes], name)
            merged_changes[name] = sum(parts[1:], parts[0]).view_as(changes[0]).to(changes[0])
        return merged_changes

    return merging


def orthogonalised(changes: Sequence[Tensor], name: str = "the layer") -> list[Tensor]:
    """The changes with rows in orthogonal subspaces, each moved as little as possible.

    changes: one for each concept [out, in]
    name: name of the layer in error messages
    """
    import torch

    bases = []
    for change in changes:
        left, values, right = torch.linalg.svd(change.double(), full_matrices=False)
        rank = max(1, int((values > 1e-5 * values[0]).sum()))
        bases.append((left[:, :rank] * values[:rank], right[:rank]))
    rows = torch.cat([right for _, right in bases])  # [R, in]
    if len(rows) > rows.shape[1]:
        raise InputError(
            f"the changes of {name} have ranks that sum to {len(rows)}, and it has {rows.shape[1]} inputs, so they cannot be orthogonal; "
            "train the concepts at a lower rank, or merge by 'gradient-fusion'"
        )
    left, _, right = torch.linalg.svd(rows, full_matrices=False)
    nearest = (left @ right).split([len(own) for _, own in bases])
    return [(up @ own).to(change) for (up, _), own, change in zip(bases, nearest, changes, strict=True)]
