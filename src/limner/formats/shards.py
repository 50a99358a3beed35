"""WebDataset shards: tar files whose members of one key are one picture.

KEY.jpg (or any picture's ending) with KEY.txt (its caption), KEY.json (caption, identity, class) and KEY.mask.png. Members are
listed once, by their headers; a picture is then read from its place, in any order.
"""

from __future__ import annotations

import glob
import io
import itertools
import json
import re
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.errors import FileError, PictureError
from limner.parts.sources.listed import Entry, Tally
from limner.subject import SUFFIXES, read_mask, read_picture

if TYPE_CHECKING:
    from limner.subject import Reference

CAPTION = ("caption", "text", "prompt", "txt")
IDENTITY = ("identity", "subject", "subject_id", "label")
NOUN = ("class", "noun", "category")
"""Names under which tables have a caption, whose picture it is, and what it shows; the first that is there is taken."""


def expanded(pattern: str) -> list[Path]:
    """The files of a pattern: {000..009} counts, {a,b} lists, and * as in a shell. Those of braces need not be there."""
    parts = re.split(r"\{([^{}]*)\}", pattern)
    choices = [_choices(part) if k % 2 else [part] for k, part in enumerate(parts)]
    names = ["".join(chosen) for chosen in itertools.product(*choices)]
    found = [sorted(glob.glob(name)) if glob.has_magic(name) else [name] for name in names]
    return [Path(name).expanduser() for part in found for name in part]


def _choices(told: str) -> list[str]:
    count = re.fullmatch(r"(\d+)\.\.(\d+)", told)
    if not count:
        return told.split(",")
    first, last = count.groups()
    return [f"{k:0{len(first)}}" for k in range(int(first), int(last) + 1)]


def listed(files: Sequence[Path], left_out: Tally, noticed: Tally) -> list[Entry]:
    """The pictures of all shards, in order. A shard that is missing, cut short or none is counted, and what was before the damage
    is kept. Raises `FileError` for compressed shards, in which nothing can be found again."""
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
    reference, _ = read_picture(_image(file, offset, size), name=Path(file).name)
    if not mask:
        return reference
    return replace(reference, mask=read_mask(_image(file, *mask)))


def _image(file: str, offset: int, size: int) -> Any:
    from PIL import Image

    try:
        with open(file, "rb") as opened:
            opened.seek(offset)
            image = Image.open(io.BytesIO(opened.read(size)))
        image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise PictureError(f"the picture at {offset} of {file} cannot be read: {error}") from error
    return image


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
            while (member := tar.next()) is not None:
                found += [member] if member.isfile() else []
        with file.open("rb") as opened:
            opened.seek(tar.offset)
            ends = bool(opened.read(1))  # an archive ends with blocks of zeros
    except (tarfile.TarError, OSError, EOFError):
        ends = False
    if not found:
        return found, "shards with nothing in them" if ends else "shards that cannot be read"
    return found, "" if ends else "shards that are cut short or damaged"


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
                    told |= parse(opened.read(parts[ending].size).decode("utf-8-sig"))
                except ValueError:  # no UTF-8, or no JSON
                    noticed.add(f".{ending} that cannot be read", name)
    return told


def _table(text: str) -> dict[str, Any]:
    told = json.loads(text)
    if not isinstance(told, dict):
        raise ValueError("expected a JSON object")  # noqa: TRY004  # as json's own errors, for one except
    return told


def entry_of(told: Mapping[str, Any], name: str, place: Any, *, alone: str) -> Entry:
    """An entry by a row's table; a picture of which nobody says whose it is, is a subject of its own."""
    whose, caption, noun = (_first(told, keys) for keys in (IDENTITY, CAPTION, NOUN))
    return Entry(name, place, whose or alone, noun, " ".join(caption.split()))


def _first(told: Mapping[str, Any], keys: Sequence[str]) -> str:
    """The first that is there; of a list, such as several captions of one picture, its first."""
    found = next((told[key] for key in keys if told.get(key) not in (None, [])), "")
    return str(found[0] if isinstance(found, list) else found).strip()
