"""Checks of the content of files, which is treated as untrusted input.

There is one helper for each kind of value: texts, JSON, whole numbers, paths, names, tensors. Each raises `FileError`
with the file, the expected and the actual value.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.errors import FileError

if TYPE_CHECKING:
    from torch import Tensor

MAX_TEXT = 32_000_000
"""Bytes of the largest text that is read whole: the list of a data set, a JSON header."""
MAX_CAPTION = 100_000
"""Bytes of the largest caption beside a picture."""
MAX_DEPTH = 32
"""Largest depth of nested tables in JSON."""
SHOWN = 80  # characters of a file's own text that a message repeats


# ----------------------------------------------------------------------------------------------------------------- text


def read_text(path: Path, *, limit: int = MAX_TEXT) -> str:
    """A text file in UTF-8, or in UTF-16 with a byte order mark, as Excel saves it. The mark is removed."""
    return decode_text(read_bytes(path, limit=limit), path)


def read_bytes(path: Path, *, limit: int) -> bytes:
    """A file of at most `limit` bytes; a larger one is not read."""
    try:
        size = path.stat().st_size
        if size > limit:
            raise FileError(f"{path} has {size:,} bytes; at most {limit:,} are read of a file of this kind")
        with path.open("rb") as file:
            return file.read(limit + 1)[:limit]
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        raise FileError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def decode_text(data: bytes, where: object) -> str:
    """Bytes as text, in the encodings of `read_text`. `where` names the source in messages."""
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise FileError(
            f"line {line} of {where} is not {'UTF-16' if encoding == 'utf-16' else 'UTF-8'} text "
            f"(byte {error.start + 1} is 0x{data[error.start]:02x}); save it as UTF-8"
        ) from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise FileError(f"line {line} of {where} holds a null character: it is no text, or in UTF-16; save it as UTF-8")
    return text


# ----------------------------------------------------------------------------------------------------------------- JSON


def read_json(path: Path, *, limit: int = MAX_TEXT) -> Any:
    """The content of a JSON file."""
    return parse_json(read_text(path, limit=limit), path)


def parse_json(text: str | bytes, where: object) -> Any:
    """The content of a JSON text. Raises `FileError` for tables nested more than `MAX_DEPTH` deep. `where` names the
    source in messages."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also for huge numbers and bytes that are not UTF-8
        raise FileError(f"{where} is not JSON: {str(error)[:200]}") from error
    level, depth = [content], 0
    while level:
        level = [inner for value in level if isinstance(value, (dict, list)) for inner in _inner(value)]
        depth += 1
        if depth > MAX_DEPTH:
            raise FileError(f"{where} holds tables within tables, more than {MAX_DEPTH} deep: limner did not write it")
    return content


def _inner(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return (v for v in (value.values() if isinstance(value, dict) else value) if isinstance(v, (dict, list)))


def table(value: object, where: object) -> dict[str, Any]:
    """The value, which must be a JSON object."""
    if not isinstance(value, dict):
        raise FileError(f"{where} must be a table (an object of JSON), not {_seen(value)}")
    return value


def rows(value: object, where: object) -> list[dict[str, Any]]:
    """The value, which must be a JSON list of objects."""
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise FileError(f"{where} must be a list of tables, not {_seen(value)}")
    return value


def plain_text(value: object, where: object, *, limit: int = 10_000) -> str:
    """The value, which must be a text of at most `limit` characters."""
    if not isinstance(value, str) or len(value) > limit:
        raise FileError(f"{where} must be a text of at most {limit:,} characters, not {_seen(value)}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise FileError(f"{where} holds half of a character at position {error.start}, which is no text") from error
    return value


def texts(value: object, where: object, *, limit: int = 10_000) -> list[str]:
    """The value, which must be a list of texts."""
    if not isinstance(value, list):
        raise FileError(f"{where} must be a list of texts, not {_seen(value)}")
    return [plain_text(text, where, limit=limit) for text in value]


def whole_number(value: object, where: object, *, least: int, most: int) -> int:
    """The value, which must be a whole number from `least` to `most`."""
    if type(value) is not int or not least <= value <= most:
        raise FileError(f"{where} must be a whole number from {least:,} to {most:,}, not {_seen(value)}")
    return value


def finite_number(value: object, where: object) -> float:
    """The value, which must be a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not _is_finite(value):
        raise FileError(f"{where} must be a finite number, not {_seen(value)}")
    return float(value)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond the range of a float
        return False


def _seen(value: object) -> str:
    """A value for a message: its beginning, or the length of a table or list."""
    if isinstance(value, (dict, list)):
        return f"a {'table' if isinstance(value, dict) else 'list'} of {len(value)}"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 10**30:
        return "a number of more than thirty digits"
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… of {len(text):,} characters"


# ---------------------------------------------------------------------------------------------------------------- paths


def inside(place: Path, folder: Path, *, named_by: object = "") -> Path:
    """The path itself, which must lie in the folder.

    Raises `FileError` for `..`, absolute paths and symbolic links that lead out of the folder. Links from a snapshot in
    the hub's cache to the blobs of that cache count as inside. `named_by` is the file that names the path, for the
    message.
    """
    try:
        real, root = place.resolve(), folder.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a null character, too long a name
        raise FileError(f"{str(place)[:200]!r} is no valid path of a file: {str(error)[:200]}") from error
    if real == root or root in real.parents or any(blobs in real.parents for blobs in _blobs(root)):
        return place
    by = f"{named_by} names {place}, which" if named_by else f"{place}"
    raise FileError(
        f"{by} is outside of {folder} (it leads to {real}), and nothing outside of a data set's folder is read for it; "
        "copy it into the folder, or name it yourself on the command line"
    )


def _blobs(root: Path) -> list[Path]:
    """Folders of the hub's cache that the links of a snapshot lead to."""
    every = (root, *root.parents)
    return [place.parent.parent / "blobs" for place in every if place.parent.name == "snapshots"]


# -------------------------------------------------------------------------------------------------------------- tensors

HASH = "limner.sha256"
"""Key in the metadata of limner's safetensors files for the hash of the header's text and the tensors."""


def content_hash(text: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of a header's text and of the names, data types, shapes and bytes of tensors, in the order of names."""
    import torch

    digest = hashlib.sha256()

    def add(part: bytes) -> None:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)

    add(text.encode("utf-8", "surrogatepass"))
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        add(name.encode("utf-8", "surrogatepass"))
        add(f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)  # its length follows from data type and shape
    return digest.hexdigest()


def check_hash(path: Path, metadata: Mapping[str, str], tensors: Mapping[str, Tensor], *, needed: bool) -> str:
    """The hash in a file's metadata, which must be that of its content. Where it is not `needed`, a file of an older
    version of limner may lack it; the result is then empty."""
    digest = metadata.get(HASH, "")
    if not digest and not needed:
        return ""
    if not digest:
        raise FileError(f"{path} is damaged: the hash of its content is missing; make or fetch it again")
    if content_hash(metadata["limner"], tensors) != digest:
        raise FileError(
            f"{path} was changed or damaged since it was written: its content does not have the hash that it was "
            "written with; make or fetch it again"
        )
    return digest
