"""The pictures of a folder, and the captions and masks beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from limner.core.subject import SUFFIXES, is_mask, mask_beside
from limner.core.untrusted import MAX_CAPTION, inside, read_text
from limner.errors import FileError, PictureError

from .contents import Item

CAPTIONS = (".txt", ".caption")


def item(picture: Path, spoilt: Callable[[str, str], object]) -> Item:
    """A picture with the caption and mask beside it.

    picture: path of the picture
    spoilt: called with (reason, name) for a caption that cannot be used, which is then left out
    """
    try:
        caption = caption_of(picture, CAPTIONS)
    except (PictureError, FileError):
        caption = ""
        spoilt("captions that are empty or no text", str(picture))
    mask = mask_beside(picture)
    return Item(picture, caption, inside(mask, picture.parent) if mask else None)


def pictures_of(folder: Path) -> list[Path]:
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    return [p for p in files if p.suffix.lower() in SUFFIXES and not is_mask(p)]


def caption_of(picture: Path, endings: Sequence[str]) -> str:
    for ending in endings:
        file = picture.with_suffix(ending)
        if file.is_file() and file.name != picture.name:
            place = inside(file, picture.parent, named_by=f"the caption of {picture.name}")
            try:
                text = read_text(place, limit=MAX_CAPTION).strip()
            except FileError as error:
                raise PictureError(str(error)) from error
            if not text:
                raise PictureError(f"{file} is empty; write what the picture shows, or delete the file")
            return " ".join(text.split())
    return ""


def beside(file: Path, place: str) -> Path:
    path = Path(place).expanduser()
    return path if path.is_absolute() else (file.parent / path).resolve()
