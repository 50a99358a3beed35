"""Lists of pictures: Hugging Face's metadata.jsonl and metadata.csv, DiffSynth's metadata.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from limner.core.subject import mask_beside, pictures_below
from limner.core.untrusted import inside, parse_json, plain_text, read_text, table
from limner.errors import FileError, PictureError

from .contents import Found, Item
from .files import pictures_of

PICTURE_COLUMNS = ("file_name", "image", "video", "path")
CAPTION_COLUMNS = ("text", "prompt", "caption")


def metadata(path: Path) -> Found | None:
    """Read Hugging Face's metadata.jsonl or metadata.csv, or DiffSynth's metadata.csv; None for a folder without
    one."""
    if not path.is_dir():
        return None
    file = next((path / name for name in ("metadata.jsonl", "metadata.csv") if (path / name).is_file()), None)
    if file is None:
        return None
    rows = list(read_rows(file))
    if not rows:
        raise FileError(f"{file} has no rows")
    columns = list(dict.fromkeys(column for row in rows for column in row))
    name = next((key for key in PICTURE_COLUMNS if key in columns), None)
    if name is None:
        raise FileError(
            f"{file} does not name pictures: expected a column file_name (or image), found "
            f"{', '.join(map(str, columns))[:200]}"
        )
    text = next((key for key in CAPTION_COLUMNS if key in columns), None)
    items: dict[Path, Item] = {}
    more = 0
    for number, row in enumerate(rows, 1):
        if not row.get(name):
            raise FileError(f"row {number} of {file} names no picture")
        captions = _captions_in(row, text, f"row {number} of {file} ({str(row[name])[:100]})")
        listed_as = plain_text(row[name], f"{name} in row {number} of {file}", limit=1000)
        place = inside(path / listed_as, path, named_by=f"row {number} of {file}")
        earlier = items.get(place)
        more += max(0, len(captions) - 1) if earlier is None else len(set(captions) - {earlier.caption})
        if earlier is None:
            items[place] = Item(place, captions[0] if captions else "", mask_beside(place))
    listed = {place.resolve() for place in items}
    stray = [f"{p.name} (not listed)" for p in pictures_of(path) if p.resolve() not in listed]
    stray += [
        line for line in pictures_below(path) if not any(path / line.partition("/,")[0] == p.parent for p in items)
    ]
    layout = "DiffSynth's" if name in ("image", "video") else "Hugging Face's"
    contents = Found(path, f"{layout} {file.name}", list(items.values()), stray=stray)
    other = [column for column in columns if column not in (name, text)]
    contents.unused += [f"{', '.join(other)} of {file.name}"] if other else []
    contents.unused += [f"{more} more captions of pictures that have one: the first of each is used"] if more else []
    return contents


def _captions_in(row: Mapping[str, Any], column: str | None, where: str) -> list[str]:
    """The captions of a row: one or several; none where the row has no such column. Raises `PictureError` for an empty
    caption."""
    if column is None or column not in row:
        return []
    value = row[column]
    captions = value if isinstance(value, list) else [value]
    if not all(isinstance(caption, str | None) for caption in captions):
        raise FileError(f"{where} has a caption that is no text: {str(value)[:60]}")
    texts = [" ".join(caption.split()) for caption in captions if caption]
    if not texts or not all(texts) or len(texts) < len(captions):
        raise PictureError(f"{where} has an empty caption; write one or leave the column out")
    return texts


def read_rows(file: Path) -> Iterator[dict[str, Any]]:
    text = read_text(file)
    if file.suffix == ".csv":
        lines = csv.DictReader(io.StringIO(text, newline=""))
        try:
            yield from (_whole_row(row, lines.line_num, file) for row in lines)
        except csv.Error as error:
            raise FileError(f"line {lines.line_num} of {file} is not CSV: {error}") from error
        return
    for number, line in enumerate(text.split("\n"), 1):  # JSON lines end at line feeds alone
        if line.strip():
            yield table(parse_json(line, f"line {number} of {file}"), f"line {number} of {file}")


def _whole_row(row: dict[Any, Any], line: int, file: Path) -> dict[str, Any]:
    if None in row:
        raise FileError(
            f"line {line} of {file} has {len(row) - 1 + len(row[None])} fields and its head has {len(row) - 1}: put "
            "quotes around a caption with commas"
        )
    return row
