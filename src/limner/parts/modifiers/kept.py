"""What is computed from parameters and kept for as long as they stay as they are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

MOST = 4096


class Kept:
    """Values by key. `check` forgets them all when a parameter learns, or was written to since the last check."""

    def __init__(self) -> None:
        self.values: dict[Any, Any] = {}
        self._written = -1

    def check(self, parameters: Iterable[Tensor]) -> None:
        parameters = list(parameters)
        written = sum(p._version for p in parameters)
        if written != self._written or len(self.values) > MOST or any(p.requires_grad for p in parameters):
            self.values.clear()
        self._written = written
