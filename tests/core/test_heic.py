"""Photographs in HEIC are read where the decoder is installed, and else its install line is said."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from limner.core import heic
from limner.core.subject import Subject, read_picture
from limner.errors import PictureError

HEADS = (
    (b"\0\0\0\x18ftypheic", True),
    (b"\0\0\0\x18ftyphevc", True),
    (b"\0\0\0\x18ftypavif", False),
    (b"\xff\xd8\xff\xe0", False),
)


@pytest.mark.parametrize(("head", "found"), HEADS)
def test_a_file_is_known_by_its_first_bytes(head: bytes, found: bool) -> None:
    assert heic.is_heic(head) is found


def test_without_the_decoder_its_install_line_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heic, "can_read", lambda: False)
    photo = tmp_path / "IMG_1.jpg"  # whatever it is called
    photo.write_bytes(HEADS[0][0] + bytes(100))
    with pytest.raises(
        PictureError, match=r"IMG_1.jpg is a HEIC picture, whose decoder is not installed: pip install 'limner\[heic\]'"
    ):
        read_picture(photo)
    photo.rename(tmp_path / "IMG_1.HEIC")
    monkeypatch.setattr("limner.core.subject.SUFFIXES", (".png", ".jpg"))
    with pytest.raises(
        PictureError, match=r"no pictures in .*; 1 HEIC picture cannot be read here, such as IMG_1.HEIC: install"
    ):
        Subject.of(tmp_path, noun="dog", handle="rex")


@pytest.mark.skipif(importlib.util.find_spec("pillow_heif") is None, reason="the extra `heic` is not installed")
def test_with_the_decoder_they_are_read_as_any_other(tmp_path: Path) -> None:
    heic.register()
    Image.new("RGB", (64, 48), (200, 30, 30)).save(tmp_path / "IMG_1.HEIC")
    (tmp_path / "IMG_2.HEIC").write_bytes((tmp_path / "IMG_1.HEIC").read_bytes()[:200])
    found = read_picture(tmp_path / "IMG_1.HEIC")[0].image
    assert found is not None
    assert found.size == (64, 48)
    pixel: Any = found.getpixel((30, 20))
    assert all(abs(a - b) < 12 for a, b in zip(pixel, (200, 30, 30), strict=True))
    with pytest.raises(PictureError, match=r"IMG_2.HEIC"):
        read_picture(tmp_path / "IMG_2.HEIC")
    (tmp_path / "IMG_2.HEIC").unlink()
    assert len(Subject.of(tmp_path, noun="dog", handle="rex").pictures) == 1
