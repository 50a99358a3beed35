"""Reading files from others: all of a file is checked before any of it is used, and no code in it is ever run."""

from __future__ import annotations

import json
import math
import os
import struct
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.errors import FileError

from .untrusted import check_hash, parse_json, table

if TYPE_CHECKING:
    from torch import Tensor


MAX_HEADER = 32_000_000
MAX_SHOWN = 100  # bytes of a file of another kind that `what_it_is` recognises the kind by
MAX_PICKLE = 4_000_000_000
"""Bytes of the largest pickle that is read: it is unpacked in memory."""


_SIZES = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2}
_SIZES |= {"U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8}


def read_tensors(path: Path | str, *, what: str = "file") -> tuple[dict[str, str], dict[str, Tensor]]:
    """The metadata and tensors of a safetensors file. Raises `FileError` for a file that is missing, damaged, of
    another kind, or holds values that are not finite. `what` names the kind of file in messages."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = Path(path)
    if not path.is_file():
        raise FileError(f"there is no {what.removesuffix('file')}{'' if what == 'file' else ' '}file {path}")
    header, data = _read_checked(path, what)
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


def _read_checked(path: Path, what: str) -> tuple[dict[str, Any], bytes]:
    """The header and all bytes of a safetensors file. The bytes after the header are read only once the header is known
    to describe every one of them."""
    try:
        with path.open("rb") as file:
            total = os.fstat(file.fileno()).st_size
            start = file.read(8)
            size = int.from_bytes(start, "little")
            start += file.read(size if size <= min(total - 8, MAX_HEADER) else MAX_SHOWN)
            header = checked_header(start, path, what, total=total)
            return header, start + file.read(total - len(start))
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}") from error


def checked_header(data: bytes, path: Path, what: str, *, total: int | None = None) -> dict[str, Any]:
    """The JSON header of safetensors bytes. Raises `FileError` unless its tensors fill the file without gaps or
    overlaps. `total` is the size of the file where `data` is only its beginning."""
    length = len(data) if total is None else total

    def bad(why: str) -> FileError:
        return FileError(f"{path} cannot be read as a {what}: {what_it_is(data)} ({why})")

    if length < 8:
        raise bad("it has less than 8 bytes")
    size = int.from_bytes(data[:8], "little")
    if size > min(length - 8, MAX_HEADER):
        limit = f", and at most {MAX_HEADER:,} are read" if size <= length - 8 else ""
        raise bad(f"its header claims {size} bytes, and the file has {length - 8} after that{limit}")
    try:
        header = json.loads(data[8 : 8 + size])
    except (ValueError, RecursionError) as error:  # also for bytes that are not UTF-8, and for huge numbers
        raise bad(f"its header is not JSON: {str(error)[:200]}") from error
    if not isinstance(header, dict):
        raise bad("its header is no table of tensors")
    metadata = header.get("__metadata__")
    if metadata is not None and not isinstance(metadata, dict):
        raise bad("its metadata is no table")
    room, spans = length - 8 - size, []
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
        raise bad(f"the data type, shape or place of {name} is missing") from error
    if not whole or not isinstance(kind, str) or kind not in _SIZES:
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
    """The content of an old embedding file (.pt, .bin). Raises `FileError` where it holds anything but tensors and
    plain values."""
    import torch

    if not path.is_file():
        raise FileError(f"there is no file {path}")
    size = _pickle_size(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can make torch's reader raise any exception
        line = (str(error).strip().splitlines() or [""])[0][:200]
        raise FileError(f"{path} holds more than tensors, or is damaged; it is not opened ({line})") from error
    if not isinstance(content, dict):
        raise FileError(f"{path} is no embedding: expected a table of tensors, found {type(content).__name__}")
    _check_tensors(content, size, path)
    return content


def _pickle_size(path: Path) -> int:
    """The size of a pickle in bytes. Raises `FileError` for a pickle that is too large, and for a compressed zip file,
    which torch does not write."""
    size, packed = path.stat().st_size, False
    if size <= MAX_PICKLE:
        try:
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    stored = (m.compress_type == zipfile.ZIP_STORED and m.file_size <= size for m in archive.infolist())
                    packed = not all(stored)
        except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, struct.error) as error:
            raise FileError(f"{path} holds more than tensors, or is damaged; it is not opened ({error})") from error
        if packed:
            raise FileError(f"{path} is compressed, as no file of torch is; it is not opened")
    if size > MAX_PICKLE:
        raise FileError(
            f"{path} has {size:,} bytes; pickles of at most {MAX_PICKLE:,} are opened: ask for a safetensors file"
        )
    return size


def _check_tensors(content: object, size: int, path: Path, depth: int = 0) -> None:
    """Raise `FileError` unless the tensors of a pickle are dense, on the CPU and no larger than the file: strides of
    zero can make a huge tensor of a few bytes."""
    import torch

    if isinstance(content, torch.Tensor):
        plain = content.layout == torch.strided and not content.is_quantized and content.device.type == "cpu"
        if not plain or content.numel() * content.element_size() > size:
            raise FileError(f"{path} holds a tensor that is larger than the file, or no plain one; it is not used")
    elif isinstance(content, (dict, list, tuple)):
        if depth > 8:
            raise FileError(f"{path} holds tables within tables, more than 8 deep; it is not used")
        for value in content.values() if isinstance(content, dict) else content:
            _check_tensors(value, size, path, depth + 1)


def read_safetensors(path: Path, *, what: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The limner header and tensors of a file. Raises `FileError` for another kind of file, which it names."""
    return read_checked(path, what=what)[:2]


def read_checked(path: Path, *, what: str) -> tuple[dict[str, Any], dict[str, Tensor], str]:
    """The limner header and tensors of a file, and their verified hash, which is empty for files of older versions of
    limner. Raises `FileError` for another kind of file, which it names."""
    from .tensor_files import read_tensors

    metadata, tensors = read_tensors(path, what=what)
    if "limner" not in metadata:
        raise FileError(
            f"{path} is a safetensors file, but limner did not write it as a {what}: it has no limner header. A file of another "
            "tool is read with `limner import`"
        )
    header = table(parse_json(metadata["limner"], f"the header of {path}"), f"the header of {path}")
    return header, tensors, check_hash(path, metadata, tensors, needed=header.get("format") == 2)
