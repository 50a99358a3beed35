"""Photographs on disk become protected copies, and are never touched themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from limner.core.subject import Subject
from limner.errors import FileError, InputError
from limner.workflows.controls import PAUSE, Controls
from limner.workflows.events import Event, Note, Paused, PhotoProtected, RunDone, UpdateDone
from limner.workflows.protect import difference
from limner.workflows.protect_request import NO_GUARANTEE
from limner.workflows.requests import ProtectRequest
from limner.workflows.run import run
from tests.helpers import open_image, save_pictures

SETTINGS = {"steps": 3}


@pytest.fixture
def photos(rex: Subject, tmp_path: Path) -> Path:
    """A folder of JPEG photographs, 200 x 150."""
    return save_pictures(rex, tmp_path / "photos")


def request(photos: Path, **more: Any) -> ProtectRequest:
    about: dict[str, Any] = {
        "pictures": (photos,),
        "noun": "dog",
        "settings": SETTINGS,
        "out": photos.parent / "copies",
    }
    return ProtectRequest(**{**about, **more})


def events(base: Any, asked: ProtectRequest, **more: Any) -> list[Event]:
    return list(run(asked, open_base=lambda _: base, **more))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_copies_are_lossless_near_and_of_the_same_size(base: Any, photos: Path) -> None:
    before = contents(photos)
    *events_before, done = events(base, request(photos))
    assert contents(photos) == before
    assert isinstance(done, RunDone)
    assert Note(NO_GUARANTEE) in events_before
    rows = [event for event in events_before if isinstance(event, PhotoProtected)]
    assert [row.photo for row in rows] == list(before)
    assert done.result["files"] == [str(row.path) for row in rows]
    for row in rows:
        photo, copy = open_image(photos / row.photo), open_image(row.path)
        assert (row.path.suffix, copy.format, copy.size) == (".png", "PNG", (200, 150))
        assert (row.largest, row.psnr) == difference(photo.convert("RGB"), copy)
        assert 0 < row.largest <= 3
    assert sorted(path.name for path in (photos.parent / "copies").iterdir()) == ["0.png", "1.png", "2.png"]


def test_photographs_and_files_of_others_are_never_replaced(base: Any, photos: Path) -> None:
    with pytest.raises(InputError, match="holds the photographs themselves"):
        events(base, request(photos, out=photos, overwrite=True))
    with pytest.raises(InputError, match="holds the photographs themselves"):
        events(base, request(photos, pictures=(photos / "0.jpg",), out=photos, overwrite=True))
    copies = photos.parent / "copies"
    copies.mkdir()
    Image.new("RGB", (8, 8)).save(copies / "1.png")
    before = contents(copies)
    for overwrite in (False, True):
        with pytest.raises(FileError):
            events(base, request(photos, overwrite=overwrite))
        assert contents(copies) == before


def test_earlier_copies_are_replaced_where_that_is_asked_for(base: Any, photos: Path) -> None:
    events(base, request(photos))
    first = contents(photos.parent / "copies")
    with pytest.raises(FileError, match="exists already"):
        events(base, request(photos, seed=1))
    events(base, request(photos, seed=1, overwrite=True))
    assert contents(photos.parent / "copies") != first


def test_a_pause_goes_on_to_the_same_bits(base: Any, photos: Path) -> None:
    events(base, request(photos, out=photos.parent / "whole"))
    controls, last = Controls(), None
    for event in run(request(photos), open_base=lambda _: base, controls=controls):
        last = event
        if isinstance(event, UpdateDone) and event.done == 4:
            controls.ask(PAUSE)
    copies = photos.parent / "copies"
    assert last == Paused(copies / "checkpoint.safetensors")
    assert [path.name for path in copies.iterdir()] == ["checkpoint.safetensors"]
    updates = [event.done for event in events(base, request(photos, resume=True)) if isinstance(event, UpdateDone)]
    assert updates[0] > 4
    assert contents(copies) == contents(photos.parent / "whole")


def test_an_equal_copy_has_no_psnr() -> None:
    grey, other = Image.new("RGB", (2, 1), (100, 100, 100)), Image.new("RGB", (2, 1), (100, 100, 100))
    assert difference(grey, other) == (0, None)
    other.putpixel((0, 0), (110, 100, 100))
    largest, psnr = difference(grey, other)
    assert largest == 10
    assert psnr == pytest.approx(35.9132, abs=1e-3)  # 10 log10(255^2 / (100 / 6))
