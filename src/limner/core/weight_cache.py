"""A cache of tensors computed from weights, valid while those weights are neither written to nor replaced."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

from .lru import LRU

if TYPE_CHECKING:
    from torch import Tensor


WEIGHT_BYTES = 256 * 2**20
"""Bytes of cached tensors, for all bases together."""


_of_weights: LRU[tuple[Tensor, ...]] = LRU(WEIGHT_BYTES)


def of_weight(what: str, weight: Tensor, make: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """The tensors that `make` computes from a weight, cached while that weight is neither written to nor replaced. They
    must not be written to. `what` is the name of the computation."""
    key = (what, version_of(weight))
    tensors = _of_weights.get(key)
    if tensors is None:
        tensors = make()
        _of_weights.put(key, tensors, sum(t.numel() * t.element_size() for t in tensors))
    return tensors


def version_of(tensor: Tensor) -> tuple[Hashable, ...]:
    """A key that is equal only for the same values in the same storage. Its weak reference keeps the storage of a
    deleted tensor from being given to another."""
    from torch.multiprocessing.reductions import StorageWeakRef

    about = tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype, tensor._version
    return StorageWeakRef(tensor.untyped_storage()), *about
