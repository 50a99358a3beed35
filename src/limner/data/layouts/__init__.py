"""Folders of pictures as people have them: which tool's layout it is, and what is in it. A file here for each kind of
layout.

Known: a flat folder, captions beside pictures in .txt or .caption, kohya's `10_token class` folders and dataset
TOML, Hugging Face's metadata.jsonl (or .csv), DiffSynth's metadata.csv, Custom Diffusion's concepts_list.json; masks
as transparency, NAME-masklabel.png, NAME.mask.png, a folder masks/, or kohya's conditioning folder; the class noun
in class.txt. Whatever lies there and is not used is said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from limner.core.subject import Reference, no_pictures, read_mask, read_picture
from limner.core.untrusted import inside
from limner.data.duplicates import near_pairs
from limner.errors import FileError, InputError

from .class_file import read_class
from .concepts_list import concepts_list
from .files import item, pictures_of
from .flat import flat
from .found import Found, Item
from .kohya_folders import kohya_folders
from .kohya_toml import kohya_toml
from .metadata import metadata
from .page import write_page
from .words import token_in, whole_word

__all__ = ["Found", "Item", "item", "laid_out", "opened", "pictures_of", "recognised", "whole_word", "write_page"]

READERS = (concepts_list, kohya_toml, kohya_folders, metadata, flat)
"""In this order a folder is shown to them; the first that knows it reads it."""


def recognised(folder: Path | str) -> Found:
    """Look at a folder (or a list file) and say what it is. Raises `PictureError` for pictures that cannot be read
    and for captions that are empty, `FileError` for lists that are damaged or name files that are not there."""
    path = Path(folder).expanduser()
    if not path.exists():
        raise FileError(f"there is no file or folder {path}")
    found = _read(path, READERS)
    assert found is not None  # a flat folder is always one
    read_class(found)
    if not found.items:
        raise no_pictures(path)
    for listed in found.items:
        if not listed.path.is_file():
            raise FileError(
                f"{found.folder} lists {listed.path.name}, and there is no such file; mend the list or put it there"
            )
        found.references.append(opened(listed.path, listed.mask))
    found.doubles = near_duplicates(found)
    found.token = found.token or token_in([item.caption for item in found.items])
    return found


def opened(picture: Path, mask: Path | None) -> Reference:
    """A picture with its mask. Raises `PictureError` for what cannot be read."""
    reference, _ = read_picture(picture)
    if mask is None:
        return reference
    return replace(reference, mask=read_mask(mask))


def laid_out(folder: Path, spoilt: Callable[[str, str], object]) -> Found:
    """What is in a folder by its files' names alone: no picture is opened, and what is wrong with captions is told
    to `spoilt` (why, name) rather than raised. Raises `FileError` for lists that are damaged."""
    found = _read(folder, READERS[:-1])
    if found is None:
        items = [item(inside(p, folder), spoilt) for p in pictures_of(folder)]
        found = Found(folder, "a folder of pictures", items, token=token_in([i.caption for i in items]))
    read_class(found)
    return found


def _read(path: Path, readers: Sequence[Callable[[Path], Found | None]]) -> Found | None:
    """The first reader's that knows the folder. A list that lies in a folder names nothing outside of it; one that
    the user names himself may. Raises `FileError`, also for everything the system says of files that cannot be
    read."""
    try:
        found = next((f for f in (reader(path) for reader in readers) if f is not None), None)
        if found is not None and path.is_dir():
            root = path.parent if path.parent.name == "img" else path  # kohya's folder, named by its part of pictures
            for place in [p for i in found.items for p in (i.path, i.mask) if p is not None]:
                inside(place, root, named_by=found.layout)
            found.regular = [inside(place, root.parent, named_by=found.layout) for place in found.regular]
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise FileError(f"{path} cannot be read as a data set: {getattr(error, 'strerror', None) or error}") from error
    return found


def near_duplicates(found: Found) -> list[tuple[str, str]]:
    """Pairs of a folder's pictures that look nearly the same, by their names."""
    pictures = [reference.image for reference in found.references if reference.image is not None]
    names = [
        str(item.path.relative_to(found.folder)) if found.folder in item.path.parents else item.path.name
        for item in found.items
    ]
    return [(names[one], names[other]) for one, other in near_pairs(pictures)]
