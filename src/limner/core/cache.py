"""The cache on disk: values by a hash of everything they were computed from. Only an exact match is a hit."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.errors import FileError

from .files import atomic_write, check_folder, write_text

if TYPE_CHECKING:
    from torch import Tensor

VERSION = 1  # part of every key: raise it when cached values change their meaning


def cache_folder() -> Path:
    """`LIMNER_CACHE`, else `limner` in the user's cache folder."""
    home = os.environ.get("LIMNER_CACHE") or os.environ.get("XDG_CACHE_HOME", "~/.cache") + "/limner"
    try:
        return Path(home).expanduser()
    except RuntimeError as error:  # the system has no home folder for this user
        raise FileError(f"there is no home folder for the cache ({error}); set LIMNER_CACHE to a folder") from error


def check_cache() -> Path:
    """The cache's folder, checked before any long work. Raises `FileError` where it cannot be written into."""
    try:
        return check_folder(cache_folder())
    except FileError as error:
        raise FileError(
            f"the cache's folder: {error}. Set LIMNER_CACHE to a folder that can be written into"
        ) from error


def cached_tensors(key: tuple[object, ...], make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The cached tensors of this key; where the file is missing or damaged, those that `make` returns."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file

    name = hashlib.sha256(repr((VERSION, *key)).encode()).hexdigest()
    path = cache_folder() / f"{name}.safetensors"
    try:
        return load_file(path)
    except (FileNotFoundError, SafetensorError):
        tensors = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, lambda p: save_file(tensors, p), overwrite=True)
        return tensors


def cached_json(key: tuple[object, ...], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The cached JSON object of this key; where the file is missing or damaged, the one that `make` returns."""
    path = cache_folder() / f"{hashlib.sha256(repr((VERSION, *key)).encode()).hexdigest()}.json"
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        content = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(content)
        write_text(path, text, overwrite=True)
    return content
