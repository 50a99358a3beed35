"""Parameters read from a concept's file, and values computed from them, cached while they stay the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from limner.errors import FileError

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base

MOST_BYTES = 64 * 2**20


class Kept:
    """Values by key, cached while parameters stay the same.

    `check` clears them when a parameter is trainable or was written to since the last check, and when their tensors
    exceed MOST_BYTES.
    """

    def __init__(self) -> None:
        self.values: dict[Any, Any] = {}
        self._written = self._count = -1

    def check(self, parameters: Iterable[Tensor]) -> None:
        parameters = list(parameters)
        written = sum(p._version for p in parameters)
        full = len(self.values) != self._count and sum(map(_num_bytes, self.values.values())) > MOST_BYTES
        if written != self._written or full or any(p.requires_grad for p in parameters):
            self.values.clear()
        self._written, self._count = written, len(self.values)


def _num_bytes(value: Any) -> int:
    """Bytes of all tensors in a value."""
    if isinstance(value, Mapping):
        return sum(map(_num_bytes, value.values()))
    if isinstance(value, (tuple, list)):
        return sum(map(_num_bytes, value))
    return value.numel() * value.element_size() if hasattr(value, "element_size") else 0


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names have this prefix, under their names without it.

    prefix: the prefix
    tensors: tensors by name
    """
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, with a prefix before their names.

    prefix: the prefix
    tensors: tensors by name
    """
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def taken(start: Mapping[str, Tensor], stored: Mapping[str, Tensor], base: Base, *, what: str) -> dict[str, Tensor]:
    """Frozen parameters with the stored values where there are any. Raises `FileError` for a value of another shape.

    start: values at the start, by name
    stored: stored values by name
    base: the base, for device and precision
    what: name of the part in error messages
    """
    import torch

    parameters: dict[str, Tensor] = {}
    for key, value in start.items():
        given = stored.get(key, value)
        if given.shape != value.shape:
            raise FileError(
                f"{key} of {what} is {tuple(given.shape)} in the concept; this base and setting want {tuple(value.shape)}"
            )
        parameters[key] = torch.nn.Parameter(given.detach().clone().to(base.device, base.dtype), requires_grad=False)
    return parameters
