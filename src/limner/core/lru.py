"""A least-recently-used cache that is bounded by the bytes of its values."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

V = TypeVar("V")

TEXT_BYTES = 64 * 2**20
"""Bytes of text-encoder hidden states that are cached for each base."""


class LRU(Generic[V]):
    """Values by key, of at most `limit_bytes` together: the least recently used is dropped first. A value that is
    larger by itself is not stored."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes, self.num_bytes = limit_bytes, 0
        self._entries: OrderedDict[Hashable, tuple[V, int]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def keys(self) -> list[Hashable]:
        """The keys, the least recently used first."""
        with self._lock:
            return list(self._entries)

    def get(self, key: Hashable) -> V | None:
        with self._lock:
            if key not in self._entries:
                return None
            self._entries.move_to_end(key)
            return self._entries[key][0]

    def put(self, key: Hashable, value: V, num_bytes: int) -> None:
        with self._lock:
            self.num_bytes += num_bytes - self._entries.pop(key, (value, 0))[1]
            self._entries[key] = value, num_bytes
            self._entries.move_to_end(key, last=num_bytes <= self.limit_bytes)
            while self.num_bytes > self.limit_bytes:
                self.num_bytes -= self._entries.popitem(last=False)[1][1]

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()
            self.num_bytes = 0
