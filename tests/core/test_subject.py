"""Pictures as people have them: every shape that can be read is, every one that cannot is explained."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from limner.core.pixels import to_tensor
from limner.core.subject import Subject, read_picture
from limner.errors import InputError, PictureError


@pytest.fixture
def picture() -> Image.Image:
    array = np.zeros((40, 60, 3), np.uint8)
    array[:, :30] = (200, 30, 30)
    array[:, 30:] = (30, 30, 200)
    return Image.fromarray(array)


def of(source: object) -> Subject:
    return Subject.of(source, noun="dog", handle="rex")


def corner(subject: Subject) -> tuple[int, ...]:
    image = subject.pictures[0].image
    assert image is not None
    assert image.mode == "RGB"
    found = image.getpixel((2, 2))
    assert isinstance(found, tuple)
    return found


def test_a_folder_is_read_and_other_files_are_named(tmp_path: Path, picture: Image.Image) -> None:
    picture.save(tmp_path / "a.png")
    picture.rotate(90, expand=True).save(tmp_path / "b.webp")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / ".hidden").write_text("")
    subject = of(tmp_path)
    assert [p.name for p in subject.pictures] == ["a.png", "b.webp"]
    assert subject.notes == ("skipped, not a picture: notes.txt",)


def test_a_turned_photograph_is_turned_back(tmp_path: Path, picture: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 270 degrees
    picture.save(tmp_path / "a.jpg", exif=exif, quality=95)
    image = of(tmp_path / "a.jpg").pictures[0].image
    assert image is not None
    assert image.size == (40, 60)


@pytest.mark.parametrize("mode", ["CMYK", "L", "P", "1", "YCbCr", "LAB"])
def test_other_colour_modes_become_rgb(tmp_path: Path, picture: Image.Image, mode: str) -> None:
    path = tmp_path / "a.tiff"
    if mode == "LAB":
        from PIL import ImageCms

        lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
        converted = ImageCms.applyTransform(picture, lab)
        assert converted is not None
        pytest.skip("LAB cannot be turned back without a profile") if converted.mode != "LAB" else None
        return
    picture.convert(mode).save(path)
    assert len(corner(of(path))) == 3


def test_sixteen_bits_are_scaled_not_cut(tmp_path: Path) -> None:
    array = np.full((20, 20), 32768, np.uint16)
    array[0, 0] = 65535
    Image.fromarray(array).save(tmp_path / "a.png")
    assert abs(corner(of(tmp_path / "a.png"))[0] - 127) <= 1


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    Image.new("RGBA", (20, 20), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert corner(of(tmp_path / "a.png")) == (255, 255, 255)


def test_an_animation_gives_its_first_frame_and_says_so(tmp_path: Path, picture: Image.Image) -> None:
    picture.save(tmp_path / "a.gif", save_all=True, append_images=[Image.new("RGB", picture.size)])
    subject = of(tmp_path / "a.gif")
    assert any("animated" in note for note in subject.notes)
    assert corner(subject)[0] > 150


def test_one_picture_is_enough_but_said_to_be_few(picture: Image.Image) -> None:
    assert any("only one picture" in note for note in of(picture).notes)


def numbered(count: int) -> list[Image.Image]:
    return [Image.new("RGB", (8, 8), (k, 0, 0)) for k in range(count)]


def test_the_number_of_a_styles_pictures_is_spoken_of() -> None:
    def notes(count: int) -> str:
        return " ".join(Subject.of(numbered(count), noun="watercolour style", handle="sty", kind="style").notes)

    assert "a caption that names its content" in notes(1)
    assert "other sides" not in notes(1)
    assert not notes(2)
    assert not notes(10)
    assert "12 pictures of a style: one to 10 by one hand are best" in notes(12)


@pytest.mark.parametrize(
    ("captions", "spoken_of"),
    [
        (("a dog in <sty>", "A dog in the style of <sty>"), True),
        (("a <sty> of a dog", "a dog in <sty>"), True),
        (("a dog in <sty>", "a cat in <sty>"), False),
        (("a dog in <sty>", ""), False),
        (("a picture in <sty>", "a picture in <sty>"), False),
    ],
)
def test_a_style_set_with_one_repeated_content_is_spoken_of(captions: tuple[str, ...], spoken_of: bool) -> None:
    about = {"noun": "watercolour style", "handle": "sty", "captions": captions}
    notes = Subject.of(numbered(2), kind="style", **about).notes  # type: ignore[arg-type]  # texts, by name
    assert any("name one content ('a dog')" in note for note in notes) == spoken_of
    assert not Subject.of(numbered(2), **about).notes  # type: ignore[arg-type]  # an object may be in one place alone


def test_the_same_picture_twice_counts_once(tmp_path: Path, picture: Image.Image) -> None:
    subject = of([picture, picture.copy()])
    assert len(subject.pictures) == 1
    assert any("same picture" in note for note in subject.notes)


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 30])
def test_an_unreadable_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(PictureError, match=r"bad\.png"):
        of(path)


def test_a_truncated_file_is_named(tmp_path: Path, picture: Image.Image) -> None:
    path = tmp_path / "cut.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (300, 300, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(PictureError, match=r"cut\.jpg is damaged or cut short"):
        of(path)


def test_a_decompression_bomb_is_refused_before_it_unpacks(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    path = tmp_path / "bomb.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )
    with pytest.raises(PictureError, match="pixels"):
        of(path)


def test_no_pictures_and_no_such_place_are_said(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="no pictures in"):
        of(tmp_path)
    with pytest.raises(PictureError, match="there is no file or folder"):
        of(tmp_path / "nowhere")
    with pytest.raises(PictureError, match="no pictures to learn from"):
        of([])


@pytest.mark.parametrize(
    "bad", [torch.zeros(64, 64), torch.full((3, 8, 8), 7.0), torch.full((3, 8, 8), float("nan")), 5]
)
def test_what_is_no_picture_is_said(bad: object) -> None:
    with pytest.raises(PictureError, match=r"expected|outside"):
        read_picture(bad)


@pytest.mark.parametrize(
    ("name", "said"),
    [("", "letters"), ("a b", "letters"), ("<>", "letters"), ("dog", "class noun itself"), ("x" * 40, "31")],
)
def test_names_that_cannot_be_used(picture: Image.Image, name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Subject.of(picture, noun="dog", handle=name)


def test_a_caption_must_name_the_subject(picture: Image.Image) -> None:
    with pytest.raises(InputError, match="does not name the subject"):
        Subject.of(picture, noun="dog", handle="rex", captions=["a dog in the garden"])
    with pytest.raises(InputError, match="2 captions for 1 pictures"):
        Subject.of(picture, noun="dog", handle="rex", captions=["<rex>", "<rex>"])
    subject = Subject.of(picture, noun="dog", handle="rex", captions=["<rex> in the garden"])
    assert subject.pictures[0].caption == "<rex> in the garden"


def test_tensors_and_arrays_are_pictures_too() -> None:
    subject = of(torch.rand(3, 3, 32, 48))
    assert len(subject.pictures) == 3
    assert subject.tensor(16).shape == (3, 3, 16, 16)


def test_the_middle_square_is_learned_from(picture: Image.Image) -> None:
    pixels = of(picture).tensor(20)
    assert pixels[0, 0, :, 0].mean() > 0.7
    assert pixels[0, 2, :, -1].mean() > 0.7


def test_a_subject_shows_itself(picture: Image.Image) -> None:
    assert "<img" in of(picture)._repr_html_()


def test_a_card_keeps_all_but_the_pixels(picture: Image.Image) -> None:
    subject = of(picture)
    again = Subject.from_card(subject.card())
    assert again == Subject("<rex>", "dog", subject.pictures)
    with pytest.raises(PictureError, match="not in the concept's file"):
        again.tensor(8)


def test_masks_are_found_beside_the_pictures(tmp_path: Path) -> None:
    from PIL import Image

    half = Image.new("L", (40, 30))
    half.paste(255, (0, 0, 20, 30))
    clear = Image.new("RGBA", (40, 30), (200, 10, 10, 255))
    clear.putalpha(half)
    for name, beside in (("a", "a-masklabel.png"), ("b", "b.mask.png"), ("c", "masks/c.png")):
        Image.effect_noise((40, 30), 50 + ord(name)).convert("RGB").save(tmp_path / f"{name}.png")
        (tmp_path / "masks").mkdir(exist_ok=True)
        half.save(tmp_path / beside)
    clear.save(tmp_path / "d.png")
    subject = Subject.of(tmp_path, noun="dog", handle="rex")
    assert [p.name for p in subject.pictures] == ["a.png", "b.png", "c.png", "d.png"]
    masks = subject.masks(32)
    assert masks is not None
    assert masks.shape == (4, 1, 32, 32)
    assert masks[:, :, :, :8].min() == 1
    assert masks[:, :, :, 24:].max() == 0
    (tmp_path / "b.mask.png").unlink()
    assert Subject.of(tmp_path, noun="dog", handle="rex").masks(32) is None


def test_a_mask_of_another_size_or_empty_is_refused() -> None:
    from PIL import Image

    picture = Image.effect_noise((40, 30), 60).convert("RGB")
    with pytest.raises(InputError, match="expected one size"):
        Subject.of([picture], noun="dog", handle="rex", masks=[Image.new("L", (30, 40), 255)])
    with pytest.raises(InputError, match="empty"):
        Subject.of([picture], noun="dog", handle="rex", masks=[Image.new("L", (40, 30))])
    with pytest.raises(InputError, match="one each"):
        Subject.of([picture], noun="dog", handle="rex", masks=[Image.new("L", (40, 30), 255)] * 2)


def test_pixels_lie_in_memory_as_they_do_when_read_from_a_file(rex: Subject) -> None:
    """Another order in memory runs other kernels, and a concept that was saved and loaded painted other bits."""
    assert rex.tensor(32).is_contiguous()
    assert to_tensor([p.image for p in rex.pictures if p.image], 32).is_contiguous()


def test_further_subjects_are_in_the_card_and_come_back_from_it() -> None:
    picture = Image.effect_noise((40, 30), 60).convert("RGB")
    other, shown = Subject.of([picture], noun="hat", handle="cap"), Subject.shown_with("bo", noun="car")
    subject = Subject.of([picture], noun="dog", handle="rex", beside=(other, shown))
    again = Subject.from_card(subject.card())
    assert [(o.handle, o.noun, len(o.pictures)) for o in again.beside] == [("<cap>", "hat", 1), ("<bo>", "car", 0)]
    assert again == subject.from_card(again.card())


def test_further_subjects_that_cannot_be_are_refused() -> None:
    picture = Image.effect_noise((40, 30), 60).convert("RGB")
    one = Subject.of([picture], noun="dog", handle="rex", beside=(Subject.shown_with("bo", noun="car"),))
    with pytest.raises(InputError, match="two subjects of one concept"):
        Subject.of([picture], noun="dog", handle="rex", beside=(Subject.shown_with("<rex>", noun="car"),))
    face = Subject.of([picture], noun="man", handle="al", kind="face")
    with pytest.raises(InputError, match="consent of its own"):
        Subject.of([picture], noun="dog", handle="rex", beside=(face,))
    with pytest.raises(InputError, match="further subjects itself"):
        Subject.of([picture], noun="dog", handle="tom", beside=(one,))
