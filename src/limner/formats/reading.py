"""Opening files that others made: everything is looked at before anything is used, and nothing in them is ever run."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.errors import FileError

if TYPE_CHECKING:
    from torch import Tensor

MAX_HEADER = 100_000_000
_SIZES = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2}
_SIZES |= {"U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8}


def read_tensors(path: Path | str, *, what: str = "file") -> tuple[dict[str, str], dict[str, Tensor]]:
    """The metadata and tensors of a safetensors file. Raises `FileError` for one that is missing, damaged, of another kind,
    or holds values that are not numbers."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = Path(path)
    if not path.is_file():
        raise FileError(f"there is no {what.removesuffix('file')}{'' if what == 'file' else ' '}file {path}")
    data = path.read_bytes()
    header = checked_header(data, path, what)
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise FileError(f"{path} cannot be read as a {what}: {what_it_is(data)} ({error})") from error
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor.float()).all()):
            raise FileError(
                f"{path} is damaged: {name} holds values that are not finite numbers; make or fetch it again"
            )
    metadata = header.get("__metadata__") or {}
    return {str(k): str(v) for k, v in metadata.items()}, tensors


def checked_header(data: bytes, path: Path, what: str) -> dict[str, Any]:
    """The JSON header of safetensors bytes, its tensors' places found to be whole, apart and inside the file."""

    def bad(why: str) -> FileError:
        return FileError(f"{path} cannot be read as a {what}: {what_it_is(data)} ({why})")

    if len(data) < 8:
        raise bad("it has less than 8 bytes")
    size = int.from_bytes(data[:8], "little")
    if size > min(len(data) - 8, MAX_HEADER):
        raise bad(f"its header is said to have {size} bytes, and the file has {len(data) - 8} after that")
    try:
        header = json.loads(data[8 : 8 + size])
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise bad(f"its header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise bad("its header is no table of tensors")
    metadata = header.get("__metadata__")
    if metadata is not None and not isinstance(metadata, dict):
        raise bad("its metadata is no table")
    room, spans = len(data) - 8 - size, []
    for name, about in header.items():
        if name != "__metadata__":
            spans.append(_span(name, about, room, bad))
    end = 0
    for start, stop, name in sorted(spans):
        if start != end:
            raise bad(
                f"the bytes of {name} {'overlap those of another tensor' if start < end else 'begin after a gap'}"
            )
        end = stop
    if end != room:
        raise bad(f"its tensors take {end} bytes, and {room} follow the header")
    return header


def _span(name: str, about: Any, room: int, bad: Any) -> tuple[int, int, str]:
    try:
        kind, shape, (start, stop) = about["dtype"], about["shape"], about["data_offsets"]
        whole = all(type(n) is int and n >= 0 for n in (*shape, start, stop))
    except (TypeError, KeyError, ValueError) as error:
        raise bad(f"{name} is not told with data type, shape and place") from error
    if not whole or kind not in _SIZES:
        raise bad(f"{name} has a data type, shape or place that cannot be: {str(about)[:100]}")
    if stop > room or start > stop or math.prod(shape) * _SIZES[kind] != stop - start:
        raise bad(f"{name} of shape {str(shape)[:60]} does not fit its place from {start} to {stop}")
    return start, stop, name


def what_it_is(data: bytes) -> str:
    if data[:2] == b"PK" or data[:1] == b"\x80":
        return "it is a pickle, which can run code and is never opened; ask for a safetensors file"
    if data[:15].lower().lstrip().startswith((b"<!doctype", b"<html")):
        return "it is a web page, not the file itself; fetch the file's own address"
    if data.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS; fetch the file itself with `git lfs pull`"
    return "it is damaged or cut short; make or fetch it again" if data else "it is empty"


def read_pickle(path: Path) -> dict[str, Any]:
    """An old embedding file (.pt, .bin), read as tensors and plain values alone. Raises `FileError` for anything else in it."""
    import torch

    if not path.is_file():
        raise FileError(f"there is no file {path}")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of a damaged pickle, torch's reader raises whatever it stumbles over
        line = (str(error).strip().splitlines() or [""])[0][:200]
        raise FileError(f"{path} holds more than tensors, or is damaged; it is not opened ({line})") from error
    if not isinstance(found, dict):
        raise FileError(f"{path} is no embedding: expected a table of tensors, found {type(found).__name__}")
    return found
