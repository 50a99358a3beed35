"""Pre-trained weights of methods: trained once by `limner pretrain`, and stored for each base."""

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
    """The path of a method's weights for a base: in the base's folder of such weights where it ships with them, else in
    the cache."""
    folder, made = base.capabilities.weights, cached_weights_path(name, base)
    packaged = folder / f"{name}.safetensors" if folder is not None else made
    return packaged if packaged.exists() or not made.exists() else made


def cached_weights_path(name: str, base: Base) -> Path:
    """The path in the cache of a method's weights that did not come with a base."""
    return _cached(name, base.fingerprint)


def _cached(name: str, fingerprint: str) -> Path:
    from .cache import cache_folder

    return cache_folder() / "methods" / f"{name}-{fingerprint}.safetensors"


def _is_for(path: Path, fingerprint: str) -> bool:
    """Whether there is a file of weights for a base with this fingerprint."""
    from .tensor_files import read_safetensors

    return path.exists() and read_safetensors(path, what="method's weights")[0].get("fingerprint") == fingerprint


def shipped(name: str, base: Base, *, made_for: str = "") -> dict[str, Tensor]:
    """The tensors of a method's weights for this base. Raises `FileError` where there are none and `WrongBase` where
    they are for another base; the message has the command that trains them.

    name: name of the weights
    base: the base
    made_for: fingerprint of a base of the same family that portable weights were trained for, which are used where this
        base has none of its own; empty uses its own alone
    """
    from .tensor_files import read_safetensors

    path = weights_path(name, base)
    if made_for and not _is_for(path, base.fingerprint):
        others = (path, _cached(name, made_for))
        path = next((other for other in others if _is_for(other, made_for)), path)
    if not path.exists():
        raise FileError(
            f"{name} starts from weights trained for {base.name}, and there are none yet: run {_command(name)} once"
        )
    header, tensors = read_safetensors(path, what="method's weights")
    if header.get("fingerprint") not in (base.fingerprint, made_for):
        raise WrongBase(
            f"the weights of {name} were trained for a base with fingerprint {header.get('fingerprint')}, this one has "
            f"{base.fingerprint}: run {_command(name)} again"
        )
    return {key: tensor.to(base.device, base.dtype) for key, tensor in tensors.items()}


def _command(name: str) -> str:
    """The command that makes weights; a name behind a dot is of a method's weights for some of its settings."""
    method, dot, kind = name.partition(".")
    if kind == "released":
        return "`limner import FILE --base …` with the file that the authors released"
    return f"`limner pretrain {method} --base …`" + (" with the same settings" if dot else "")


def mark(name: str, base: Base) -> str:
    """A hash of the tensors of a method's weights for this base; empty where there are none."""
    path = weights_path(name, base)
    if not path.exists():
        return ""
    about = path.stat()
    return _hash(path, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)


@functools.lru_cache(maxsize=64)
def _hash(path: Path, *_: int) -> str:
    """Hash of the tensors in a file, without its header. The further arguments (inode, size, times) make the cache miss
    when the file changes."""
    from .tensor_files import read_safetensors

    return content_hash("", read_safetensors(path, what="method's weights")[1])[:16]


def about_weights(name: str, base: Base) -> dict[str, Any]:
    """The header of a method's weights: the settings, seed and losses of their training."""
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
    """Write a method's weights in half precision to `path`, by default `weights_path`. Raises `FileError` where the
    file exists and `overwrite` is off."""
    import torch
    from safetensors.torch import save_file

    from .files import atomic_write

    half = {key: tensor.detach().to("cpu", torch.float16).contiguous() for key, tensor in tensors.items()}
    text = json.dumps({"method": name, "base": base.name, "fingerprint": base.fingerprint, **about})
    path = path or weights_path(name, base)
    metadata = {"limner": text, HASH: content_hash(text, half)}
    return atomic_write(path, lambda p: save_file(half, p, metadata=metadata), overwrite=overwrite)


def check_import(name: str, base: Base, *, overwrite: bool) -> None:
    """Check that weights imported from another tool's file may be stored for a method on this base. Raises `FileError`
    for a base whose weights ship with limner, and where weights exist already and `overwrite` is off."""
    path = weights_path(name, base)
    if base.capabilities.weights is not None:
        raise FileError(
            f"the weights of {name} for {base.name} are part of limner, and an imported file does not replace them; "
            "import it for the base that it was made for: --base FOLDER or HUB/ID"
        )
    if path.exists() and not overwrite:
        raise FileError(
            f"there are weights of {name} for {base.name} already ({path}), which may be days of work; copy them away, "
            "and give --overwrite to replace them"
        )
