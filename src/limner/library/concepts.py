"""Concepts by their files, of which the most recently used stay in memory."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.core.lru import LRU

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base
    from limner.core.concept import Concept
    from limner.core.lru import V


SETTLED = 0.1
"""Seconds since a file last changed after which another change shows in its times, whatever the file system's clock
ticks in."""


class Concepts:
    """Concepts by their files, of which the hot ones stay in memory: at most `limit_bytes` of tensors, those of methods
    that start from weights of their own with these.

        hot = limner.Concepts(limit_bytes=2**30)
        limner.paint(base, "<rex> on the beach", concepts=["rex.safetensors"], hot=hot)

    A file is known by its place, inode, size and times, so one that was replaced or written to is read anew. One that
    changed less than `SETTLED` seconds ago is read, and not kept yet.
    """

    def __init__(self, *, limit_bytes: int = 2**30) -> None:
        self.recent: LRU[Any] = LRU(limit_bytes)

    def read(self, path: Path | str) -> Concept:
        """The concept of a file. Raises `FileError` as `Concept.load` does."""
        from limner.core.concept import Concept

        return self._of_file(Path(path), (), lambda: Concept.load(path), lambda concept: concept.tensors)

    def shipped(self, name: str, base: Base) -> dict[str, Tensor]:
        """As `weights.shipped`: what a method starts from, where the base is."""
        from limner.core.weights import shipped, weights_path

        about = (base.fingerprint, str(base.device), base.dtype)
        return self._of_file(weights_path(name, base), about, lambda: shipped(name, base), lambda tensors: tensors)

    def _of_file(
        self,
        path: Path,
        about: tuple[Hashable, ...],
        make: Callable[[], V],
        tensors: Callable[[V], Mapping[str, Tensor]],
    ) -> V:
        key = (_identity(path), *about)
        found: V | None = self.recent.get(key) if key[0] else None
        if found is None:
            found = make()
            if key[0] and _identity(path) == key[0]:
                self.recent.put(key, found, sum(t.numel() * t.element_size() for t in tensors(found).values()))
        return found


def read_concepts(concepts: Sequence[Concept | Path | str], hot: Concepts | None) -> list[Concept]:
    """Those that are named by a file, read: from `hot` where it is there, each file once."""
    read = (hot or Concepts(limit_bytes=0)).read
    files = {c: read(c) for c in dict.fromkeys(c for c in concepts if isinstance(c, (Path, str)))}
    return [files[c] if isinstance(c, (Path, str)) else c for c in concepts]


def _identity(path: Path) -> tuple[Hashable, ...] | None:
    """What tells a file from any other and from itself as it was; nothing where there is none, or it changed just
    now."""
    try:
        about = os.stat(path)
    except OSError:
        return None
    if time.time() - max(about.st_mtime, about.st_ctime) < SETTLED:
        return None
    return os.path.abspath(path), about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns
