"""Photos are read as `learn` would read them, and everything that was read is reported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageOps

from limner.core.subject import Subject
from limner.errors import PictureError
from limner.workflows.events import RunDone, SubjectRead
from limner.workflows.look_subject import middle_square
from limner.workflows.requests import BaseChoice, LookRequest
from limner.workflows.run import run
from tests.helpers import open_image, person, save_pictures

UPSIDE_DOWN = 3
"""Orientation of a picture that its EXIF turns by 180 degrees."""


@pytest.fixture(scope="module")
def folder(rex: Subject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of a toy with everything that is worth a remark."""
    folder = save_pictures(rex, tmp_path_factory.mktemp("look") / "photos")
    first = open_image(folder / "0.jpg")
    Image.new("L", first.size, 255).save(folder / "0.mask.png")
    (folder / "0.txt").write_text("a photo of rex on a chair")
    ImageOps.mirror(open_image(folder / "1.jpg")).save(folder / "mirrored.png")
    exif = Image.Exif()
    exif[0x0112] = UPSIDE_DOWN
    open_image(folder / "2.jpg").rotate(180).save(folder / "2.jpg", exif=exif, quality=95)
    first.save(folder / "again.png")
    (folder / "broken.jpg").write_bytes(b"no picture")
    (folder / "letter.doc").write_text("hello")
    return folder


@pytest.fixture
def look(base: Any, tmp_path: Path) -> Callable[..., SubjectRead]:
    def looked(*pictures: Path, **more: Any) -> SubjectRead:
        request = LookRequest(**{"pictures": pictures, "noun": "dog", "name": "rex", "out": tmp_path / "out", **more})
        *_, read, done = run(request, open_base=lambda _: base)
        assert isinstance(read, SubjectRead)
        assert isinstance(done, RunDone)
        assert done.result == read.record
        return read

    return looked


def test_everything_that_was_read_of_photos_is_reported(look: Callable[..., SubjectRead], folder: Path) -> None:
    read = look(folder)
    pictures = {picture.name: picture for picture in read.pictures}
    assert list(pictures) == ["0.jpg", "1.jpg", "2.jpg", "mirrored.png"]
    assert (read.name, read.noun, read.kind, read.consent, read.photographs) == ("rex", "dog", "object", (), False)
    assert dict(read.unread).keys() == {"broken.jpg", "letter.doc", "again.png"}
    assert str(folder) not in dict(read.unread)["broken.jpg"]
    assert {("0.jpg", "again.png"), ("1.jpg", "mirrored.png")} <= set(read.duplicates)
    assert (pictures["0.jpg"].mask_source, pictures["0.jpg"].caption_source) == ("given", "given")
    assert pictures["0.jpg"].caption == "a photo of <rex> on a chair"
    assert (pictures["1.jpg"].mask_source, pictures["1.jpg"].caption_source) == ("segmenter", "captioner")
    assert "<rex>" in pictures["1.jpg"].caption
    assert all(picture.visible for picture in read.pictures)
    assert [pictures[name].orientation for name in ("1.jpg", "2.jpg")] == [1, UPSIDE_DOWN]


def test_crops_and_masks_are_those_of_the_upright_picture(look: Callable[..., SubjectRead], folder: Path) -> None:
    read = look(folder)
    turned = next(picture for picture in read.pictures if picture.name == "2.jpg")
    assert (turned.width, turned.height, turned.crop) == (200, 150, (25, 0, 175, 150))
    assert turned.mask is not None
    mask, shown = open_image(turned.mask), open_image(turned.picture)
    assert mask.size == shown.size == (200, 150)
    left, top, right, bottom = mask.getbbox() or (0, 0, 0, 0)
    assert left >= 25 and right <= 175 and bottom - top > 20  # noqa: PT018
    upside = open_image(folder / "2.jpg").convert("RGB").rotate(180)
    assert shown.getpixel((5, 5)) == upside.getpixel((5, 5))


def test_a_face_is_found_and_needs_consent(look: Callable[..., SubjectRead], tmp_path: Path) -> None:
    folder = tmp_path / "person"
    folder.mkdir()
    for k, picture in enumerate(person().pictures):
        assert picture.image is not None
        picture.image.resize((384, 384)).save(folder / f"{k}.png")  # its face has enough pixels to learn from
    read = look(folder, noun="person", kind="face")
    assert read.consent[0] == "person"
    assert not read.unclear
    for seen in read.pictures:
        (face,) = seen.faces
        assert face.chosen
        left, top, right, bottom = seen.crop
        assert left <= face.box[0] and face.box[2] <= right and top <= face.box[1]  # noqa: PT018
        assert right - left == bottom - top


def test_what_shows_no_subject_is_said(look: Callable[..., SubjectRead], folder: Path, tmp_path: Path) -> None:
    empty = tmp_path / "sky.png"
    Image.new("RGB", (64, 64), (120, 160, 240)).save(empty)
    read = look(empty, folder / "1.jpg")
    assert [picture.visible for picture in read.pictures] == [False, True]
    assert read.pictures[0].mask is None
    assert any("not visible in sky.png" in note for note in read.notes)


def test_a_base_without_networks_is_not_opened(folder: Path, tmp_path: Path) -> None:
    def refuse(choice: object) -> Any:
        raise AssertionError("it was opened")

    request = LookRequest(pictures=(folder,), noun="dog", base=BaseChoice(name="org/real-base"), out=tmp_path / "out")
    *_, read, _ = run(request, open_base=refuse)
    assert isinstance(read, SubjectRead)
    assert read.photographs is None
    assert {picture.mask_source for picture in read.pictures} == {"given", ""}
    assert any("small" in note for note in read.notes)  # 150 pixels for bases that paint 512


def test_nothing_readable_is_an_error_with_the_reasons(look: Callable[..., SubjectRead], tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(PictureError, match="no pictures that can be read: a.jpg"):
        look(tmp_path / "a.jpg")


def test_the_middle_square_is_the_shorter_side() -> None:
    assert middle_square(Image.new("L", (30, 10))) == (10, 0, 20, 10)
    assert middle_square(Image.new("L", (10, 31))) == (0, 10, 10, 20)
