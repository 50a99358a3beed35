"""Weights that methods start from: trained once by `limner pretrain`, kept beside the base they were trained on."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.errors import FileError, WrongBase

from .untrusted import HASH, content_hash

if TYPE_CHECKING:
    from torch import Tensor

    from .base import Base


def weights_path(name: str, base: Base) -> Path:
    """Where the weights of a method for a base are kept: beside the base's own where it ships with such; in the cache
    those that were made on first use, and those for other bases."""
    folder, made = base.capabilities.weights, cached_weights_path(name, base)
    packaged = folder / f"{name}.safetensors" if folder is not None else made
    return packaged if packaged.exists() or not made.exists() else made


def cached_weights_path(name: str, base: Base) -> Path:
    """Where weights that did not come with a base are kept."""
    from .cache import cache_folder

    return cache_folder() / "methods" / f"{name}-{base.fingerprint}.safetensors"


def shipped(name: str, base: Base) -> dict[str, Tensor]:
    """The tensors of a method's weights for this base. Raises `FileError` or `WrongBase` that says how to make them."""
    from .tensor_files import read_safetensors

    path = weights_path(name, base)
    if not path.exists():
        raise FileError(
            f"{name} starts from weights trained for {base.name}, and there are none yet: run `limner pretrain {name} --base …` once"
        )
    header, tensors = read_safetensors(path, what="method's weights")
    if header.get("fingerprint") != base.fingerprint:
        raise WrongBase(
            f"the weights of {name} were trained for a base with fingerprint {header.get('fingerprint')}, this one has "
            f"{base.fingerprint}: run `limner pretrain {name}` again"
        )
    return {key: tensor.to(base.device, base.dtype) for key, tensor in tensors.items()}


def mark(name: str, base: Base) -> str:
    """Which weights there are of a method for this base, as a hash of their tensors; empty where there are none."""
    path = weights_path(name, base)
    if not path.exists():
        return ""
    about = path.stat()
    return _hash(path, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)


@functools.lru_cache(maxsize=64)
def _hash(path: Path, *_: int) -> str:
    """Of the tensors of a file as it was when it had this inode, size and times, whatever its header tells of where
    they are from."""
    from .tensor_files import read_safetensors

    return content_hash("", read_safetensors(path, what="method's weights")[1])[:16]


def about_weights(name: str, base: Base) -> dict[str, Any]:
    """How a method's weights were made: settings, seed, losses."""
    from .tensor_files import read_safetensors

    return read_safetensors(weights_path(name, base), what="method's weights")[0]


def save_weights(
    name: str,
    base: Base,
    tensors: Mapping[str, Tensor],
    *,
    about: Mapping[str, object],
    overwrite: bool = True,
    path: Path | None = None,
) -> Path:
    """Write a method's weights in half precision, to a path or where `weights_path` says. Raises `FileError` where
    there are some already and `overwrite` is off."""
    import torch
    from safetensors.torch import save_file

    from .files import atomic_write

    half = {key: tensor.detach().to("cpu", torch.float16).contiguous() for key, tensor in tensors.items()}
    text = json.dumps({"method": name, "base": base.name, "fingerprint": base.fingerprint, **about})
    path = path or weights_path(name, base)
    metadata = {"limner": text, HASH: content_hash(text, half)}
    return atomic_write(path, lambda p: save_file(half, p, metadata=metadata), overwrite=overwrite)


def check_import(name: str, base: Base, *, overwrite: bool) -> None:
    """Whether weights of another tool's file may take the place of a method's on this base. Raises `FileError` for
    those that ship with limner, which are part of it, and for those that are there already unless `overwrite`."""
    path = weights_path(name, base)
    if base.capabilities.weights is not None:
        raise FileError(
            f"the weights of {name} for {base.name} are part of limner, and an imported file does not replace them; import it for the base "
            "that it was made for: --base FOLDER or HUB/ID"
        )
    if path.exists() and not overwrite:
        raise FileError(
            f"there are weights of {name} for {base.name} already ({path}), which may be days of work; copy them away, and say --overwrite "
            "to replace them"
        )
