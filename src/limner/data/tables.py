"""Read data sets of Hugging Face's `datasets` (an optional dependency), from a folder that `save_to_disk` wrote or by
hub id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.core.subject import read_mask, read_picture
from limner.core.untrusted import inside
from limner.errors import FileError, InputError, MissingExtra, PictureError

from .listed import Entry
from .shards import CAPTION, IDENTITY, NOUN, entry_of

if TYPE_CHECKING:
    from limner.core.subject import Reference

PICTURE = ("image", "picture", "img", "jpg", "png")
MASK = ("mask", "mask.png")
SAVED = ("dataset_info.json", "dataset_dict.json")


def is_saved(folder: Path) -> bool:
    """Whether a folder was written by `save_to_disk`."""
    return any((folder / name).is_file() for name in SAVED)


def opened(where: str) -> Any:
    """Open the rows of a data set.

    where: ID, ID@SPLIT or a saved folder; without a split, "train", or the first where there is no "train"

    Raises `MissingExtra` without the library, and `FileError` where it cannot open the data set.
    """
    try:
        datasets: Any = import_module("datasets")
    except ImportError as error:
        raise MissingExtra("datasets is not installed: `pip install limner[datasets]`") from error
    place, _, split = where.partition("@")
    folder = Path(place).expanduser()
    try:
        data_set = datasets.load_from_disk(str(folder)) if folder.is_dir() else datasets.load_dataset(place)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise FileError(f"{place} cannot be opened as a data set: {str(error).splitlines()[0]}") from error
    if not hasattr(data_set, "column_names") or isinstance(data_set.column_names, Mapping):
        splits = list(data_set)
        chosen = split or ("train" if "train" in splits else splits[0])
        if chosen not in splits:
            raise InputError(f"{place} has no split {chosen!r}; it has {', '.join(splits)}")
        data_set = data_set[chosen]
    return _undecoded(data_set, datasets)


def _undecoded(rows: Any, datasets: Any) -> Any:
    """The rows with pictures as bytes, which `read` decodes in the formats that limner allows."""
    kind: Any = getattr(datasets, "Image", None)
    for column in (*PICTURE, *MASK):
        if kind is not None and isinstance(rows.features.get(column), kind):
            rows = rows.cast_column(column, datasets.Image(decode=False))
    return rows


def listed(rows: Any, name: str) -> list[Entry]:
    """Entries of the rows, without reading a picture. Raises `InputError` for a table without a column of pictures."""
    columns = list(rows.column_names)
    if not any(column in columns for column in PICTURE):
        raise InputError(
            f"{name} has no column of pictures: expected one named {' or '.join(PICTURE)}, found {', '.join(columns)}"
        )
    known = [column for column in columns if column in (*CAPTION, *IDENTITY, *NOUN)]
    words = rows.select_columns(known) if known else [{}] * len(rows)
    entries = []
    for k, row in enumerate(words):
        fields = {column: _in_words(rows, column, row[column]) for column in known}
        entries.append(entry_of(fields, f"{name}, row {k}", k, alone=f"row {k}"))
    return entries


def read(rows: Any, place: int, *, root: Path | None = None) -> Reference:
    """Read the picture of a row, and its mask where there is one.

    rows: the rows of a data set
    place: number of the row
    root: a saved folder, outside of which no row may name a file; None for a data set of the hub
    """
    try:
        row = rows[place]
        image = next(row[column] for column in PICTURE if row.get(column) is not None)
    except StopIteration:
        raise PictureError(f"row {place} has no picture") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise PictureError(f"the picture of row {place} cannot be read: {error}") from error
    reference, _ = read_picture(_source(image, root), name=f"row {place}")
    mask = next((row[column] for column in MASK if row.get(column) is not None), None)
    return reference if mask is None else replace(reference, mask=read_mask(_source(mask, root)))


def _source(value: Any, root: Path | None) -> Any:
    """A cell's picture in a form that `read_picture` accepts: bytes, a path, or a picture."""
    if not isinstance(value, dict):
        return value
    if value.get("bytes") is not None:
        return bytes(value["bytes"])
    place = Path(str(value.get("path") or ""))
    return place if root is None else inside(root / place, root, named_by=f"a row of {root}")


def _in_words(rows: Any, column: str, value: Any) -> Any:
    """A cell's value, with the name in place of a class label's number."""
    names: Sequence[str] | None = getattr(rows.features.get(column), "names", None)
    return names[value] if names is not None and isinstance(value, int) and value >= 0 else value
