"""Checks of whatever a file says: everything is looked at as if a stranger had typed it.

One helper for each kind of thing that is read: texts, JSON, whole numbers, places of files, names, tensors. Each raises
`FileError` with the file, what was expected and what was found.
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
"""Bytes of the largest text that is read whole: a list of a data set, a JSON header."""
MAX_CAPTION = 100_000
"""Bytes of the largest caption beside a picture."""
MAX_DEPTH = 32
"""Tables within tables of JSON, at most."""
SHOWN = 80  # characters of a file's own text that a message repeats


# ----------------------------------------------------------------------------------------------------------------- text


def read_text(path: Path, *, limit: int = MAX_TEXT) -> str:
    """A text file in UTF-8, or in UTF-16 with its mark, as Excel saves it; a byte order mark is left out."""
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
    """Bytes as text, as `read_text` takes them; `where` is what messages call them."""
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise FileError(
            f"line {line} of {where} is not {'UTF-16' if encoding == 'utf-16' else 'UTF-8'} text (byte {error.start + 1} is "
            f"0x{data[error.start]:02x}); save it as UTF-8"
        ) from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise FileError(f"line {line} of {where} holds a null character: it is no text, or in UTF-16; save it as UTF-8")
    return text


# ----------------------------------------------------------------------------------------------------------------- JSON


def read_json(path: Path, *, limit: int = MAX_TEXT) -> Any:
    """What a JSON file holds."""
    return parse_json(read_text(path, limit=limit), path)


def parse_json(text: str | bytes, where: object) -> Any:
    """What a JSON text holds, its tables at most `MAX_DEPTH` deep; `where` is what messages call it."""
    try:
        found = json.loads(text)
    except (
        ValueError,
        RecursionError,
    ) as error:  # ValueError: also numbers of thousands of digits, and bytes that are no UTF-8
        raise FileError(f"{where} is not JSON: {str(error)[:200]}") from error
    level, depth = [found], 0
    while level:
        level = [inner for value in level if isinstance(value, (dict, list)) for inner in _inner(value)]
        depth += 1
        if depth > MAX_DEPTH:
            raise FileError(f"{where} holds tables within tables, more than {MAX_DEPTH} deep: limner did not write it")
    return found


def _inner(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return (v for v in (value.values() if isinstance(value, dict) else value) if isinstance(v, (dict, list)))


def table(value: object, where: object) -> dict[str, Any]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise FileError(f"{where} must be a table (an object of JSON), not {_seen(value)}")
    return value


def rows(value: object, where: object) -> list[dict[str, Any]]:
    """A JSON list of objects."""
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise FileError(f"{where} must be a list of tables, not {_seen(value)}")
    return value


def plain_text(value: object, where: object, *, limit: int = 10_000) -> str:
    """A text of at most `limit` characters."""
    if not isinstance(value, str) or len(value) > limit:
        raise FileError(f"{where} must be a text of at most {limit:,} characters, not {_seen(value)}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise FileError(f"{where} holds half of a character at place {error.start}, which is no text") from error
    return value


def texts(value: object, where: object, *, limit: int = 10_000) -> list[str]:
    """A list of texts."""
    if not isinstance(value, list):
        raise FileError(f"{where} must be a list of texts, not {_seen(value)}")
    return [plain_text(text, where, limit=limit) for text in value]


def whole_number(value: object, where: object, *, least: int, most: int) -> int:
    """A whole number from `least` to `most`."""
    if type(value) is not int or not least <= value <= most:
        raise FileError(f"{where} must be a whole number from {least:,} to {most:,}, not {_seen(value)}")
    return value


def finite_number(value: object, where: object) -> float:
    """A number that is finite."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not _is_finite(value):
        raise FileError(f"{where} must be a finite number, not {_seen(value)}")
    return float(value)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond what a float holds
        return False


def _seen(value: object) -> str:
    """A value as messages show it: its beginning, and of tables and lists how long they are."""
    if isinstance(value, (dict, list)):
        return f"a {'table' if isinstance(value, dict) else 'list'} of {len(value)}"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 10**30:
        return "a number of more than thirty digits"
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… of {len(text):,} characters"


# --------------------------------------------------------------------------------------------------------------- places


def inside(place: Path, folder: Path, *, named_by: object = "") -> Path:
    """The place itself, once it is seen that it lies in the folder however it is written: `..`, absolute paths and
    symbolic links that lead out of the folder are refused. Links from a snapshot of the hub's cache to its own blobs
    stay inside.

    `named_by` is the list that names the place, for the message.
    """
    try:
        real, root = place.resolve(), folder.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a null character, a name that is too long
        raise FileError(f"{str(place)[:200]!r} is no place of a file: {str(error)[:200]}") from error
    if real == root or root in real.parents or any(blobs in real.parents for blobs in _blobs(root)):
        return place
    by = f"{named_by} names {place}, which" if named_by else f"{place}"
    raise FileError(
        f"{by} is outside of {folder} (it leads to {real}), and nothing outside of a data set's folder is read for it; copy it into the "
        "folder, or name it yourself on the command line"
    )


def _blobs(root: Path) -> list[Path]:
    """Where the hub's cache keeps the files to which a snapshot's links lead."""
    every = (root, *root.parents)
    return [place.parent.parent / "blobs" for place in every if place.parent.name == "snapshots"]


# -------------------------------------------------------------------------------------------------------------- tensors

HASH = "limner.sha256"
"""Under which name a file's metadata hold the hash of everything else that limner put into it."""


def content_hash(text: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over a header's text, and over names, data types, shapes and bytes of tensors in the order of their
    names."""
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
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)  # its length is told by data type and shape
    return digest.hexdigest()


def check_hash(path: Path, metadata: Mapping[str, str], tensors: Mapping[str, Tensor], *, needed: bool) -> str:
    """The hash a file was written with, once its content is found to have it; empty for a file of an older limner,
    which has none and may go without where it is not `needed`."""
    told = metadata.get(HASH, "")
    if not told and not needed:
        return ""
    if not told:
        raise FileError(f"{path} is damaged: the hash of its content is gone; make or fetch it again")
    if content_hash(metadata["limner"], tensors) != told:
        raise FileError(
            f"{path} was changed or damaged since it was written: its content does not have the hash that it was written with; make "
            "or fetch it again"
        )
    return told
