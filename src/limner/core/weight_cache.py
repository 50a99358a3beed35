"""Tensors computed from weights, kept while those weights are neither written to nor replaced."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

from .lru import LRU

if TYPE_CHECKING:
    from torch import Tensor


WEIGHT_BYTES = 256 * 2**20
"""Of what is computed from weights, of all bases together."""


_of_weights: LRU[tuple[Tensor, ...]] = LRU(WEIGHT_BYTES)


def of_weight(what: str, weight: Tensor, make: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """What `make` finds of a weight, and is not to be written to: kept while that weight is neither written to nor
    replaced."""
    key = (what, version_of(weight))
    found = _of_weights.get(key)
    if found is None:
        found = make()
        _of_weights.put(key, found, sum(t.numel() * t.element_size() for t in found))
    return found


def version_of(tensor: Tensor) -> tuple[Hashable, ...]:
    """Equal only for the same values in the same place. The weak reference keeps the place of a tensor that is gone
    from being given to another."""
    from torch.multiprocessing.reductions import StorageWeakRef

    about = tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype, tensor._version
    return StorageWeakRef(tensor.untyped_storage()), *about
