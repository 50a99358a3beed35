"""A cache that keeps the most recently used concepts in memory."""

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
"""Age of a file's last change, in seconds, from which a further change alters its times: longer than the resolution of
any file system's clock."""


class Concepts:
    """Read concepts from files, and keep the most recently used in memory: at most `limit_bytes` of tensors, including
    the pre-trained weights of their methods.

        hot = limner.Concepts(limit_bytes=2**30)
        limner.paint(base, "<rex> on the beach", concepts=["rex.safetensors"], hot=hot)

    A file is identified by its path, inode, size and times, so a file that was replaced or changed is read again. A
    file that changed less than `SETTLED` seconds ago is read without being cached.
    """

    def __init__(self, *, limit_bytes: int = 2**30) -> None:
        self.recent: LRU[Any] = LRU(limit_bytes)
        self.hits = self.misses = 0  # reads answered from memory, and from files

    def read(self, path: Path | str) -> Concept:
        """Read the concept of a file. Raises `FileError` as `Concept.load` does."""
        from limner.core.concept import Concept

        return self._of_file(Path(path), (), lambda: Concept.load(path), lambda concept: concept.tensors)

    def shipped(self, name: str, base: Base) -> dict[str, Tensor]:
        """A method's pre-trained weights, on the base's device (see `weights.shipped`)."""
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
        value: V | None = self.recent.get(key) if key[0] else None
        if value is not None:
            self.hits += 1
        else:
            self.misses += 1
            value = make()
            if key[0] and _identity(path) == key[0]:
                self.recent.put(key, value, sum(t.numel() * t.element_size() for t in tensors(value).values()))
        return value


def read_concepts(concepts: Sequence[Concept | Path | str], hot: Concepts | None) -> list[Concept]:
    """Replace paths with the concepts in these files, each read once.

    concepts: concepts, or paths of their files
    hot: cache to read from; None reads every file
    """
    read = (hot or Concepts(limit_bytes=0)).read
    files = {c: read(c) for c in dict.fromkeys(c for c in concepts if isinstance(c, (Path, str)))}
    return [files[c] if isinstance(c, (Path, str)) else c for c in concepts]


def _identity(path: Path) -> tuple[Hashable, ...] | None:
    """Values that differ between two files, and change whenever a file does; None for a missing file, and for one that
    changed less than `SETTLED` seconds ago."""
    try:
        about = os.stat(path)
    except OSError:
        return None
    if time.time() - max(about.st_mtime, about.st_ctime) < SETTLED:
        return None
    return os.path.abspath(path), about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns
