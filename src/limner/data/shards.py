"""WebDataset shards: tar files whose members of one key are one picture.

KEY.jpg (or any picture's ending) with KEY.txt (its caption), KEY.json (caption, identity, class) and KEY.mask.png.
Members are listed once, by their headers; a picture is then read from its place, in any order.
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
"""Names under which tables have a caption, whose picture it is, and what it shows; the first that is there is taken."""


def expanded(pattern: str) -> list[Path]:
    """The files of a pattern: {000..009} counts, {a,b} lists, and * as in a shell. Those of braces need not be
    there."""
    parts = re.split(r"\{([^{}]*)\}", pattern)
    choices = [_choices(part) if k % 2 else [part] for k, part in enumerate(parts)]
    if (count := math.prod(map(len, choices))) > MAX_FILES:
        raise InputError(f"{pattern!r} names {count:,} files; at most {MAX_FILES:,} are opened")
    names = ["".join(chosen) for chosen in itertools.product(*choices)]
    found = [sorted(glob.glob(name)) if glob.has_magic(name) else [name] for name in names]
    return [Path(name).expanduser() for part in found for name in part]


def _choices(told: str) -> Sequence[str]:
    count = re.fullmatch(r"(\d+)\.\.(\d+)", told)
    if not count:
        return told.split(",")
    first, last = count.groups()
    if len(last) > 9 or int(last) - int(first) >= MAX_FILES:
        raise InputError(f"{{{told[:60]}}} counts more than the {MAX_FILES:,} files that are opened")
    return [f"{k:0{len(first)}}" for k in range(int(first), int(last) + 1)]


def listed(files: Sequence[Path], left_out: Tally, noticed: Tally) -> list[Entry]:
    """The pictures of all shards, in order. A shard that is missing, cut short or none is counted, and what was before
    the damage is kept. Raises `FileError` for compressed shards, in which nothing can be found again."""
    entries: list[Entry] = []
    for file in files:
        members, trouble = _members(file)
        if trouble:
            left_out.add(trouble, str(file))
        entries += _entries(file, members, noticed)
    return entries


def read(place: Sequence[Any]) -> Reference:
    """A picture at its place: [file, offset, bytes] and, with a mask, the mask's offset and bytes."""
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
    """The files in a shard as far as it goes, and what is wrong with it."""
    found: list[tarfile.TarInfo] = []
    if not file.is_file():
        return found, "shards that are not there"
    with file.open("rb") as opened:
        if opened.read(2) == b"\x1f\x8b":
            raise FileError(
                f"{file} is compressed, so nothing in it can be found again: unpack it (gunzip) and name the .tar"
            )
    try:
        with tarfile.open(file, "r:") as tar:
            whole = file.stat().st_size
            while (member := tar.next()) is not None:
                found += [member] if member.isfile() and _is_there(member, whole) else []
        with file.open("rb") as opened:
            opened.seek(tar.offset)
            ends = bool(opened.read(1))  # an archive ends with blocks of zeros
    except (tarfile.TarError, OSError, EOFError, ValueError, LookupError, TypeError, ArithmeticError):
        ends = False  # of a damaged header, tarfile raises whatever it stumbles over
    if not found:
        return found, "shards with nothing in them" if ends else "shards that cannot be read"
    return found, "" if ends else "shards that are cut short or damaged"


def _is_there(member: tarfile.TarInfo, whole: int) -> bool:
    """Whether a member begins within a file of so many bytes, and lies in it as it is."""
    return 0 <= member.offset_data <= whole and member.size >= 0 and not member.issparse()


def _entries(file: Path, members: Sequence[tarfile.TarInfo], noticed: Tally) -> list[Entry]:
    grouped: dict[str, dict[str, tarfile.TarInfo]] = {}
    for member in members:
        folder, _, name = member.name.rpartition("/")
        key, _, ending = name.partition(".")
        if key:
            grouped.setdefault(f"{folder}/{key}" if folder else key, {})[ending.lower()] = member
    found = []
    for key, parts in grouped.items():
        picture = next((parts[e] for e in parts if f".{e}" in SUFFIXES), None)
        if picture is None:
            continue
        name = f"{file.name}:{picture.name}"
        mask = next(
            (parts[e] for e in parts if e.startswith("mask.") and f".{e.removeprefix('mask.')}" in SUFFIXES), None
        )
        place = [str(file.resolve()), *_place(picture), *(_place(mask) if mask else ())]
        told = _told(file, parts, name, noticed)
        found.append(entry_of(told, name, place, alone=f"{file.name}:{key}"))
    return found


def _place(member: tarfile.TarInfo) -> tuple[int, int]:
    return member.offset_data, member.size


def _told(file: Path, parts: Mapping[str, tarfile.TarInfo], name: str, noticed: Tally) -> dict[str, Any]:
    """What the text and the table beside a picture say."""
    told: dict[str, Any] = {}
    with file.open("rb") as opened:
        for ending, parse in (("json", _table), ("txt", lambda text: {"caption": text})):
            if ending in parts:
                opened.seek(parts[ending].offset_data)
                try:
                    told |= parse(_text(opened, parts[ending]))
                except FileError:  # too long, no UTF-8, or no JSON
                    noticed.add(f".{ending} that cannot be read", name)
    return told


def _text(opened: BinaryIO, member: tarfile.TarInfo) -> str:
    if member.size > MAX_CAPTION:
        raise FileError(f"{member.name} has {member.size:,} bytes; at most {MAX_CAPTION:,} are read")
    return decode_text(opened.read(member.size), member.name)


def _table(text: str) -> dict[str, Any]:
    return table(parse_json(text, "a table"), "a table")


def entry_of(told: Mapping[str, Any], name: str, place: Any, *, alone: str) -> Entry:
    """An entry by a row's table; a picture of which nobody says whose it is, is a subject of its own."""
    whose, caption, noun = (_first(told, keys) for keys in (IDENTITY, CAPTION, NOUN))
    return Entry(name, place, whose or alone, noun, " ".join(caption.split()))


def _first(told: Mapping[str, Any], keys: Sequence[str]) -> str:
    """The first that is there, as text or a number; of a list, such as several captions of one picture, its first."""
    found = (told[key][0] if isinstance(told[key], list) and told[key] else told[key] for key in keys if key in told)
    plain = (str(value).strip() for value in found if isinstance(value, (str, int, float)))
    return next((text for text in plain if len(text) <= MAX_CAPTION), "")
