"""Read WebDataset shards: tar files in which members with the same key belong to one picture.

KEY.jpg (or another ending of a picture) comes with KEY.txt (its caption), KEY.json (caption, identity, class) and
KEY.mask.png. Members are listed once, by their headers; pictures are then read by their offsets, in any order.
"""

from __future__ import annotations

import glob
import itertools
import math
import re
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from limner.core.decoding import MAX_BYTES
from limner.core.subject import SUFFIXES, read_mask, read_picture
from limner.core.untrusted import MAX_CAPTION, decode_text, parse_json, table
from limner.errors import FileError, InputError, PictureError

from .listed import Entry, Tally

if TYPE_CHECKING:
    from limner.core.subject import Reference

MAX_FILES = 1_000_000
CAPTION = ("caption", "text", "prompt", "txt")
IDENTITY = ("identity", "subject", "subject_id", "label")
NOUN = ("class", "noun", "category")
"""Column names for a picture's caption, its subject's identity and its class noun; the first that exists is used."""


def expanded(pattern: str) -> list[Path]:
    """The files of a pattern with {000..009} for numbers, {a,b} for alternatives, and * as in a shell. Files from
    braces need not exist."""
    parts = re.split(r"\{([^{}]*)\}", pattern)
    choices = [_choices(part) if k % 2 else [part] for k, part in enumerate(parts)]
    if (count := math.prod(map(len, choices))) > MAX_FILES:
        raise InputError(f"{pattern!r} names {count:,} files; at most {MAX_FILES:,} are opened")
    names = ["".join(chosen) for chosen in itertools.product(*choices)]
    matches = [sorted(glob.glob(name)) if glob.has_magic(name) else [name] for name in names]
    return [Path(name).expanduser() for part in matches for name in part]


def _choices(text: str) -> Sequence[str]:
    count = re.fullmatch(r"(\d+)\.\.(\d+)", text)
    if not count:
        return text.split(",")
    first, last = count.groups()
    if len(last) > 9 or int(last) - int(first) >= MAX_FILES:
        raise InputError(f"{{{text[:60]}}} counts more than the {MAX_FILES:,} files that are opened")
    return [f"{k:0{len(first)}}" for k in range(int(first), int(last) + 1)]


def listed(files: Sequence[Path], left_out: Tally, noticed: Tally) -> list[Entry]:
    """Entries of all shards, in order. The pictures before the damage in a shard are used.

    files: the shards
    left_out: counts shards that are missing, cut short or unreadable
    noticed: counts captions and tables that cannot be read

    Raises `FileError` for compressed shards, which cannot be read by offset.
    """
    entries: list[Entry] = []
    for file in files:
        members, trouble = _members(file)
        if trouble:
            left_out.add(trouble, str(file))
        entries += _entries(file, members, noticed)
    return entries


def read(place: Sequence[Any]) -> Reference:
    """Read a picture and its mask.

    place: [file, offset, number of bytes] of the picture, followed by offset and number of bytes of the mask if any
    """
    file, offset, size, *mask = place
    reference, _ = read_picture(_bytes(file, offset, size), name=f"the picture at {offset} of {Path(file).name}")
    if not mask:
        return reference
    return replace(reference, mask=read_mask(_bytes(file, *mask), name=f"the mask at {mask[0]} of {Path(file).name}"))


def _bytes(file: str, offset: int, size: int) -> bytes:
    if size > MAX_BYTES:
        raise PictureError(f"the picture at {offset} of {file} has {size:,} bytes; at most {MAX_BYTES:,} are read")
    try:
        with open(file, "rb") as opened:
            opened.seek(offset)
            return opened.read(size)
    except (OSError, ValueError) as error:
        raise PictureError(f"the picture at {offset} of {file} cannot be read: {error}") from error


def _members(file: Path) -> tuple[list[tarfile.TarInfo], str]:
    """The members of a shard, up to any damage, and a description of the damage (empty for none)."""
    members: list[tarfile.TarInfo] = []
    if not file.is_file():
        return members, "shards that are not there"
    with file.open("rb") as opened:
        if opened.read(2) == b"\x1f\x8b":
            raise FileError(
                f"{file} is compressed, so its pictures cannot be read by offset: unpack it (gunzip) and name the .tar"
            )
    try:
        with tarfile.open(file, "r:") as tar:
            whole = file.stat().st_size
            while (member := tar.next()) is not None:
                members += [member] if member.isfile() and _is_there(member, whole) else []
        with file.open("rb") as opened:
            opened.seek(tar.offset)
            ends = bool(opened.read(1))  # an archive ends with blocks of zeros
    except (tarfile.TarError, OSError, EOFError, ValueError, LookupError, TypeError, ArithmeticError):
        ends = False  # tarfile raises errors of many classes for a damaged header
    if not members:
        return members, "shards with nothing in them" if ends else "shards that cannot be read"
    return members, "" if ends else "shards that are cut short or damaged"


def _is_there(member: tarfile.TarInfo, whole: int) -> bool:
    """Whether a member begins inside a file of `whole` bytes, and is stored there without gaps (not sparse)."""
    return 0 <= member.offset_data <= whole and member.size >= 0 and not member.issparse()


def _entries(file: Path, members: Sequence[tarfile.TarInfo], noticed: Tally) -> list[Entry]:
    grouped: dict[str, dict[str, tarfile.TarInfo]] = {}
    for member in members:
        folder, _, name = member.name.rpartition("/")
        key, _, ending = name.partition(".")
        if key:
            grouped.setdefault(f"{folder}/{key}" if folder else key, {})[ending.lower()] = member
    entries = []
    for key, parts in grouped.items():
        picture = next((parts[e] for e in parts if f".{e}" in SUFFIXES), None)
        if picture is None:
            continue
        name = f"{file.name}:{picture.name}"
        mask = next(
            (parts[e] for e in parts if e.startswith("mask.") and f".{e.removeprefix('mask.')}" in SUFFIXES), None
        )
        place = [str(file.resolve()), *_place(picture), *(_place(mask) if mask else ())]
        fields = _read_fields(file, parts, name, noticed)
        entries.append(entry_of(fields, name, place, alone=f"{file.name}:{key}"))
    return entries


def _place(member: tarfile.TarInfo) -> tuple[int, int]:
    return member.offset_data, member.size


def _read_fields(file: Path, parts: Mapping[str, tarfile.TarInfo], name: str, noticed: Tally) -> dict[str, Any]:
    """The fields of the .json and .txt members beside a picture."""
    fields: dict[str, Any] = {}
    with file.open("rb") as opened:
        for ending, parse in (("json", _table), ("txt", lambda text: {"caption": text})):
            if ending in parts:
                opened.seek(parts[ending].offset_data)
                try:
                    fields |= parse(_text(opened, parts[ending]))
                except FileError:  # too long, not UTF-8, or not JSON
                    noticed.add(f".{ending} that cannot be read", name)
    return fields


def _text(opened: BinaryIO, member: tarfile.TarInfo) -> str:
    if member.size > MAX_CAPTION:
        raise FileError(f"{member.name} has {member.size:,} bytes; at most {MAX_CAPTION:,} are read")
    return decode_text(opened.read(member.size), member.name)


def _table(text: str) -> dict[str, Any]:
    return table(parse_json(text, "a table"), "a table")


def entry_of(fields: Mapping[str, Any], name: str, place: Any, *, alone: str) -> Entry:
    """Make an entry from a row's fields.

    fields: column -> value
    name: name of the picture, for people
    place: location of the picture, for the reader
    alone: identity of a picture without one, which counts as its own subject
    """
    whose, caption, noun = (_first(fields, keys) for keys in (IDENTITY, CAPTION, NOUN))
    return Entry(name, place, whose or alone, noun, " ".join(caption.split()))


def _first(fields: Mapping[str, Any], keys: Sequence[str]) -> str:
    """Text of the first key with a text or number as its value; a list, such as several captions, gives its first."""
    values = (
        fields[key][0] if isinstance(fields[key], list) and fields[key] else fields[key]
        for key in keys
        if key in fields
    )
    plain = (str(value).strip() for value in values if isinstance(value, (str, int, float)))
    return next((text for text in plain if len(text) <= MAX_CAPTION), "")
