"""A folder of pictures, with captions and masks beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from limner.core.cameras import CAMERAS
from limner.core.subject import is_mask, mask_beside, pictures_below
from limner.errors import FileError

from .contents import Found, Item
from .files import CAPTIONS, caption_of, pictures_of


def flat(path: Path, endings: Sequence[str] = CAPTIONS) -> Found:
    """Read the pictures of a folder, with captions and masks beside them; or one picture.

    path: a folder, or a picture
    endings: file name endings of captions
    """
    if path.is_file():
        return Found(path, "one picture", [Item(path, caption_of(path, endings), mask_beside(path))])
    if not path.is_dir():
        raise FileError(f"there is no folder {path}")
    pictures = pictures_of(path)
    items = [Item(p, caption_of(p, endings), mask_beside(p)) for p in pictures]
    captioned = any(item.caption for item in items)
    stems = {p.stem for p in pictures}
    known = {CAMERAS, *(p.name for p in pictures)} | {p.name for p in path.iterdir() if is_mask(p)}
    known |= {p.name for p in path.iterdir() if p.suffix in endings and p.stem in stems}
    stray = sorted(p.name for p in path.iterdir() if p.is_file() and p.name not in known and not p.name.startswith("."))
    stray += pictures_below(path)
    return Found(path, "a folder with captions" if captioned else "a folder of pictures", items, stray=stray)
