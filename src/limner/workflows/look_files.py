"""The files of a subject as the workflow `look` reads them: what cannot be read is listed, in place of an error."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from limner.errors import LimnerError

if TYPE_CHECKING:
    from limner.core.subject import Subject
    from limner.data.layouts import Found

    from .requests import LookRequest

THING = "thing"
"""Class of a subject whose class nobody has named yet."""


def read_contents(request: LookRequest) -> tuple[Found, list[tuple[str, str]]]:
    """The readable pictures, in the layout of the folder; and the name of each file that is not, with the reason."""
    from limner.data.layouts import Found, Item, laid_out, opened

    unread: list[tuple[str, str]] = []
    first = request.pictures[0] if len(request.pictures) == 1 else None
    if first is not None and (first.is_dir() or first.suffix in (".json", ".toml")):
        layout = laid_out(first, lambda reason, name: unread.append((Path(name).name, reason)))
        unread += _strays(first, layout)
    else:
        files = [file for path in request.pictures for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
        layout = Found(Path(), "pictures", [Item(file) for file in files if not file.name.startswith(".")])
    items = []
    for item in layout.items:
        try:
            layout.references.append(opened(item.path, item.mask))
        except LimnerError as error:
            unread.append((item.path.name, str(error).replace(str(item.path), item.path.name)))
        else:
            items.append(item)
    return replace(layout, items=items), unread


def _strays(folder: Path, layout: Found) -> list[tuple[str, str]]:
    """Files in a folder that are read neither as pictures nor for them."""
    from limner.core import heic
    from limner.core.cameras import CAMERAS
    from limner.core.subject import SUFFIXES

    if not folder.is_dir() or any(item.path.parent != folder for item in layout.items):
        return [(name, "not read in this layout") for name in layout.stray]
    stems = {item.path.stem for item in layout.items}
    strays = []
    for file in sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")):
        suffix = file.suffix.lower()
        if suffix in heic.SUFFIXES and not heic.can_read():
            strays.append((file.name, f"a HEIC picture, whose decoder is not installed ({heic.INSTALL})"))
        elif suffix not in SUFFIXES and file.name not in (CAMERAS, "class.txt") and file.stem not in stems:
            strays.append((file.name, "not a picture"))
    return strays


def near_duplicates(contents: Found) -> list[tuple[str, str]]:
    """Names of near-duplicates, copies and mirrored ones among them."""
    from limner.data.duplicates import doubles, near_pairs

    names = [item.path.name for item in contents.items]
    images = [reference.image for reference in contents.references if reference.image is not None]
    pairs = set(near_pairs(images))
    for group in doubles(images):
        pairs |= {(group[0], other) for other in group[1:]}
    return [(names[one], names[other]) for one, other in sorted(pairs)]


def subject_of(request: LookRequest, contents: Found) -> Subject:
    noun = request.noun or contents.noun or THING
    return contents.subject(noun=noun, name=request.name, kind=request.kind)
