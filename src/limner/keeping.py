"""What stays between requests: recent things, bounded by their bytes, and never stale.

A service that paints many people's concepts reads a file once while it is hot, and a prompt once while the text towers are
as they were. Whatever is kept is known by what it was made of; anything else than an exact match is a miss.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakKeyDictionary

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from .bases.protocol import Base
    from .concept import Concept

V = TypeVar("V")
SETTLED = 0.1
"""Seconds since a file last changed after which another change shows in its times, whatever the file system's clock ticks in."""
TEXT_BYTES = 64 * 2**20
"""Of text states, of each base."""
WEIGHT_BYTES = 256 * 2**20
"""Of what is computed from weights, of all bases together."""
GROUP = 4
"""Prompts read at once, always: the bits of a state must not depend on what it was read with."""


class Recent(Generic[V]):
    """Values by key, of at most `limit_bytes` together: the least recently used goes first. What is larger alone is not kept."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes, self.num_bytes = limit_bytes, 0
        self._found: OrderedDict[Hashable, tuple[V, int]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._found)

    def get(self, key: Hashable) -> V | None:
        with self._lock:
            if key not in self._found:
                return None
            self._found.move_to_end(key)
            return self._found[key][0]

    def put(self, key: Hashable, value: V, num_bytes: int) -> None:
        with self._lock:
            self.num_bytes += num_bytes - self._found.pop(key, (value, 0))[1]
            self._found[key] = value, num_bytes
            self._found.move_to_end(key, last=num_bytes <= self.limit_bytes)
            while self.num_bytes > self.limit_bytes:
                self.num_bytes -= self._found.popitem(last=False)[1][1]

    def clear(self) -> None:
        with self._lock:
            self._found.clear()
            self.num_bytes = 0


# --------------------------------------------------------------------------------------------------------------- concepts


class Concepts:
    """Concepts by their files, of which the hot ones stay in memory: at most `limit_bytes` of tensors, those of methods that start
    from weights of their own with these.

        hot = limner.Concepts(limit_bytes=2**30)
        limner.paint(base, "<rex> on the beach", concepts=["rex.safetensors"], hot=hot)

    A file is known by its place, inode, size and times, so one that was replaced or written to is read anew. One that changed
    less than `SETTLED` seconds ago is read, and not kept yet.
    """

    def __init__(self, *, limit_bytes: int = 2**30) -> None:
        self.recent: Recent[Any] = Recent(limit_bytes)

    def read(self, path: Path | str) -> Concept:
        """The concept of a file. Raises `FileError` as `Concept.load` does."""
        from .concept import Concept

        return self._of_file(Path(path), (), lambda: Concept.load(path), lambda concept: concept.tensors)

    def shipped(self, name: str, base: Base) -> dict[str, Tensor]:
        """As `weights.shipped`: what a method starts from, where the base is."""
        from .weights import shipped, weights_path

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
    """What tells a file from any other and from itself as it was; nothing where there is none, or it changed just now."""
    try:
        about = os.stat(path)
    except OSError:
        return None
    if time.time() - max(about.st_mtime, about.st_ctime) < SETTLED:
        return None
    return os.path.abspath(path), about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns


# ---------------------------------------------------------------------------------------------------------------- weights

_of_weights: Recent[tuple[Tensor, ...]] = Recent(WEIGHT_BYTES)


def of_weight(what: str, weight: Tensor, make: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """What `make` finds of a weight, and is not to be written to: kept while that weight is neither written to nor replaced."""
    key = (what, _as_it_is(weight))
    found = _of_weights.get(key)
    if found is None:
        found = make()
        _of_weights.put(key, found, sum(t.numel() * t.element_size() for t in found))
    return found


def _as_it_is(tensor: Tensor) -> tuple[Hashable, ...]:
    """Equal only for the same values in the same place. The weak reference keeps the place of a tensor that is gone from being
    given to another."""
    from torch.multiprocessing.reductions import StorageWeakRef

    about = tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype, tensor._version
    return StorageWeakRef(tensor.untyped_storage()), *about


# ------------------------------------------------------------------------------------------------------------ text states


class _Texts:
    """Text states of one base, while its towers stay as they are."""

    def __init__(self) -> None:
        self.towers: tuple[Any, ...] = ()
        self.recent: Recent[Tensor] = Recent(TEXT_BYTES)


_texts: WeakKeyDictionary[Base, _Texts] = WeakKeyDictionary()


def read_texts(base: Base, texts: Sequence[str], *, words: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Text -> its states [L, D], without gradients: kept from before where towers and the text's words are to the bit what they
    were, or read now. While something worn acts in a tower, nothing is taken from before or kept."""
    kept, now = _texts.setdefault(base, _Texts()), _towers(base)
    if now and now != kept.towers:
        kept.recent.clear()
    keys = _keys(texts, words) if now else {}
    found = {text: states for text, key in keys.items() if (states := kept.recent.get(key)) is not None}
    new = sorted(set(texts) - found.keys())
    for start in range(0, len(new), GROUP):
        part = new[start : start + GROUP]
        padded = part + [""] * (GROUP - len(part))
        with torch.no_grad():
            found.update(zip(part, base.text_states(padded, words=words).clone().unbind(), strict=False))
    if not now:
        return found
    kept.towers = _towers(base) if new else now  # towers that wait elsewhere have moved
    for text in new:
        kept.recent.put(keys[text], found[text].clone(), found[text].numel() * found[text].element_size())
    return found


def _towers(base: Base) -> tuple[Any, ...]:
    """What the towers are made of now: equal only where no weight was replaced or written to since; empty where something acts in
    them."""
    kind = base.device.type
    found: list[Any] = [torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind)]
    for part in base.parts:
        if part in ("denoiser", "autoencoder", "second_stage"):
            continue
        module = base.module(part)
        hooks = (h for m in module.modules() for h in (*m._forward_hooks.values(), *m._forward_pre_hooks.values()))
        if any(not str(getattr(hook, "__module__", "")).startswith("transformers.") for hook in hooks):
            return ()  # transformers' own only look
        for tensor in (*module.parameters(), *module.buffers()):
            found.append(_as_it_is(tensor))
    return tuple(found)


def _keys(texts: Sequence[str], words: Mapping[str, Tensor]) -> dict[str, str]:
    """Text -> the text with each of its words as a hash of its vectors: whatever it is called, it reads the same."""
    if not words:
        return {text: text for text in texts}
    named = re.compile("|".join(map(re.escape, sorted(words, key=len, reverse=True))))
    hashes: dict[str, str] = {}

    def hashed(match: re.Match[str]) -> str:
        word = match.group()
        if word not in hashes:
            vectors = words[word].detach().cpu().contiguous()
            digest = hashlib.sha256(vectors.view(torch.uint8).numpy().tobytes()).hexdigest()
            hashes[word] = f"\0{tuple(vectors.shape)} {vectors.dtype} {digest}\0"
        return hashes[word]

    return {text: named.sub(hashed, text) for text in texts}
