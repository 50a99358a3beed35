"""Photographs in HEIC, the format of many phones. Reading them needs pillow-heif, in the extra `heic`."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from .wording import counted

SUFFIXES = (".heic", ".heif")
INSTALL = "pip install 'limner[heic]'"
FORMAT = "HEIF"
"""Pillow's name of the format."""
BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")
"""Bytes that follow "ftyp" at the beginning of such files (ISO/IEC 23008-12, annex B)."""


@functools.cache
def can_read() -> bool:
    """Whether the decoder is installed."""
    return find_spec("pillow_heif") is not None


def is_heic(head: bytes) -> bool:
    """Whether a file is in HEIC, by its first 12 bytes."""
    return head[4:8] == b"ftyp" and head[8:12] in BRANDS


@functools.cache
def register() -> None:
    """Register the decoder with Pillow."""
    from pillow_heif import register_heif_opener

    register_heif_opener()


def unread_note(places: Sequence[Path]) -> str:
    """A line about the pictures in HEIC among these files and folders, where the decoder is not installed and they are
    skipped; else empty."""
    if can_read():
        return ""
    files = [file for place in places for file in (sorted(place.iterdir()) if place.is_dir() else [place])]
    pictures = [file for file in files if file.suffix.lower() in SUFFIXES and file.is_file()]
    if not pictures:
        return ""
    return (
        f"{counted(len(pictures), 'HEIC picture')} cannot be read here, such as {pictures[0].name}: install the decoder "
        f"({INSTALL}), or save as "
        "JPEG or PNG"
    )
