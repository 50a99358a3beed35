"""Read folders of pictures in the layouts of common tools. Each layout has a file in this package.

Layouts: a flat folder, with captions beside pictures in .txt or .caption; kohya's `10_token class` folders and dataset
TOML; Hugging Face's metadata.jsonl (or .csv); DiffSynth's metadata.csv; Custom Diffusion's concepts_list.json. Masks
are transparency, NAME-masklabel.png, NAME.mask.png, a folder masks/, or kohya's conditioning folder. The class noun may
be in class.txt. Files that are not used are reported.
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
from .contents import Found, Item
from .files import item, pictures_of
from .flat import flat
from .kohya_folders import kohya_folders
from .kohya_toml import kohya_toml
from .metadata import metadata
from .page import write_page
from .words import token_in, whole_word

__all__ = ["Found", "Item", "item", "laid_out", "opened", "pictures_of", "recognised", "whole_word", "write_page"]

READERS = (concepts_list, kohya_toml, kohya_folders, metadata, flat)
"""Readers of layouts, in order: the first that recognises a folder reads it."""


def recognised(folder: Path | str) -> Found:
    """Recognise the layout of a folder, or of a list file, and open its pictures. Raises `PictureError` for unreadable
    pictures and empty captions, and `FileError` for lists that are damaged or name missing files."""
    path = Path(folder).expanduser()
    if not path.exists():
        raise FileError(f"there is no file or folder {path}")
    contents = _read(path, READERS)
    assert contents is not None  # the last reader, `flat`, recognises every folder
    read_class(contents)
    if not contents.items:
        raise no_pictures(path)
    for listed in contents.items:
        if not listed.path.is_file():
            raise FileError(
                f"{contents.folder} lists {listed.path.name}, but there is no such file; correct the list or add the "
                "file"
            )
        contents.references.append(opened(listed.path, listed.mask))
    contents.doubles = near_duplicates(contents)
    contents.token = contents.token or token_in([item.caption for item in contents.items])
    return contents


def opened(picture: Path, mask: Path | None) -> Reference:
    """Open a picture and its mask. Raises `PictureError` where one of them cannot be read."""
    reference, _ = read_picture(picture)
    if mask is None:
        return reference
    return replace(reference, mask=read_mask(mask))


def laid_out(folder: Path, spoilt: Callable[[str, str], object]) -> Found:
    """Recognise the layout of a folder without opening a picture.

    folder: the folder
    spoilt: called with (reason, name) for each caption that cannot be used, in place of an error

    Raises `FileError` for lists that are damaged.
    """
    contents = _read(folder, READERS[:-1])
    if contents is None:
        items = [item(inside(p, folder), spoilt) for p in pictures_of(folder)]
        contents = Found(folder, "a folder of pictures", items, token=token_in([i.caption for i in items]))
    read_class(contents)
    return contents


def _read(path: Path, readers: Sequence[Callable[[Path], Found | None]]) -> Found | None:
    """The contents of a folder, by the first reader that recognises it. A list inside the folder may only name files
    inside the folder; a list that the user names may name others. Raises `FileError`, also in place of the operating
    system's errors."""
    try:
        contents = next((f for f in (reader(path) for reader in readers) if f is not None), None)
        if contents is not None and path.is_dir():
            # The user may name a folder of pictures inside kohya's img/.
            root = path.parent if path.parent.name == "img" else path
            for place in [p for i in contents.items for p in (i.path, i.mask) if p is not None]:
                inside(place, root, named_by=contents.layout)
            contents.regular = [inside(place, root.parent, named_by=contents.layout) for place in contents.regular]
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise FileError(f"{path} cannot be read as a data set: {getattr(error, 'strerror', None) or error}") from error
    return contents


def near_duplicates(contents: Found) -> list[tuple[str, str]]:
    """Pairs of names of a folder's near-duplicates."""
    pictures = [reference.image for reference in contents.references if reference.image is not None]
    names = [
        str(item.path.relative_to(contents.folder)) if contents.folder in item.path.parents else item.path.name
        for item in contents.items
    ]
    return [(names[one], names[other]) for one, other in near_pairs(pictures)]
