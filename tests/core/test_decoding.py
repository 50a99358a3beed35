"""Pictures within bounds: known formats alone, no more memory than a picture of the kept size takes, one kind of
error."""

from __future__ import annotations

import contextlib
import io
import os
import resource
import stat
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limner.core import decoding
from limner.core.decoding import decoded, decoded_mask
from limner.core.subject import Subject, read_picture
from limner.errors import FileError, PictureError


def test_postscript_in_a_png_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ghost = tmp_path / "bin" / "gs"
    ghost.parent.mkdir()
    ghost.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\nexit 1\n")
    ghost.chmod(ghost.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{ghost.parent}{os.pathsep}{os.environ['PATH']}")
    path = tmp_path / "holiday.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n")
    with pytest.raises(PictureError, match="is not a picture that can be read"):
        read_picture(path)
    assert not (tmp_path / "ran").exists()


def png_of(width: int, height: int, depth: int, colours: int) -> bytes:
    """A PNG of zeros, as small as it can be."""
    channels = {0: 1, 2: 3, 6: 4}[colours]
    packed = zlib.compressobj(9)
    row = b"\0" * (1 + width * channels * depth // 8)
    data = b"".join(packed.compress(row) for _ in range(height)) + packed.flush()

    def chunk(kind: bytes, what: bytes) -> bytes:
        return struct.pack(">I", len(what)) + kind + what + struct.pack(">I", zlib.crc32(kind + what))

    head = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "big.png"
    path.write_bytes(png_of(13_300, 13_300, 16, 0))
    assert path.stat().st_size < 400_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(PictureError, match=r"13300 x 13300 pixels; at most 64,000,000"):
        read_picture(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


@pytest.mark.parametrize(("depth", "colours"), [(16, 0), pytest.param(8, 6, marks=pytest.mark.sweep)])
def test_a_large_picture_takes_bounded_memory_and_is_brought_down(tmp_path: Path, depth: int, colours: int) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(png_of(8000, 7000, depth, colours))
    script = (
        "import resource, sys; from pathlib import Path; from limner.core.decoding import decoded, KEPT_PIXELS\n"
        "import PIL.Image, numpy; before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "found = decoded(Path(sys.argv[1]), name='large'); w, h = found.rgb.size\n"
        "assert found.whole_size == (8000, 7000) and 0.99 * KEPT_PIXELS < w * h <= KEPT_PIXELS, (w, h)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    told = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    assert int(told.stdout) < 1_000_000  # kB


def test_a_large_picture_and_its_mask_come_down_to_one_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "KEPT_PIXELS", 1000)
    wide = Image.effect_noise((60, 40), 90).convert("RGB")
    wide.save(tmp_path / "0.png")
    Image.new("L", (60, 40), 255).save(tmp_path / "0.mask.png")
    subject = Subject.of(tmp_path, noun="dog", handle="rex")
    (picture,) = subject.pictures
    assert picture.image is not None
    assert picture.mask is not None
    assert picture.image.size == picture.mask.size == (38, 25)
    assert any("0.png is 60 x 40 pixels: reduced to 38 x 25" in note for note in subject.notes)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse.png"
    with path.open("wb") as file:
        file.truncate(3 * 10**9)
    with pytest.raises(PictureError, match="3,000,000,000 bytes"):
        read_picture(path)


def test_large_pictures_wait_for_one_another() -> None:
    import threading

    room, taken, most = decoding._Room(100), [0], [0]
    lock = threading.Lock()

    def work(pixels: int) -> None:
        with room.of(pixels):
            with lock:
                taken[0] += pixels
                most[0] = max(most[0], taken[0])
            threading.Event().wait(0.01)
            with lock:
                taken[0] -= pixels

    threads = [threading.Thread(target=work, args=(60,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert most == [60]
    with room.of(500):  # alone, it may
        assert room.taken == 500


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_many_bits_are_scaled_by_rows_as_all_at_once(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "STRIP", 100 * 7)
    values = np.random.default_rng(0).random((600, 7)) * (60_000 if mode != "F" else 0.9)
    image = Image.fromarray(values.astype({"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]))
    assert image.mode == mode
    kept = np.asarray(image, dtype=np.float64)
    wanted = (kept / (65535.0 if mode != "F" else 1.0) * 255).astype(np.uint8)
    found = np.asarray(decoding.converted(image, name="deep").rgb)[..., 0]
    assert np.array_equal(found, wanted)


def test_values_that_are_not_finite_are_no_picture() -> None:
    values = np.full((4, 4), np.nan, dtype=np.float32)
    with pytest.raises(PictureError, match="not finite"):
        decoding.converted(Image.fromarray(values), name="deep")


@pytest.mark.parametrize(
    "error", [NotImplementedError, RuntimeError, SyntaxError, struct.error, KeyError, OSError, MemoryError]
)
def test_whatever_pillow_stumbles_over_is_a_picture_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "0.png")

    def stumble(*_: object, **__: object) -> None:
        raise error("of another library")

    for what in ("PIL.Image.open", "PIL.ImageOps.exif_transpose", "PIL.PngImagePlugin.PngImageFile.load"):
        with monkeypatch.context() as patched:
            patched.setattr(what, stumble)
            with pytest.raises(PictureError, match="0.png is damaged or cut short"):
                read_picture(tmp_path / "0.png")
            with pytest.raises(PictureError, match="0.png is damaged or cut short"):
                decoded_mask(tmp_path / "0.png", name="0.png")


def test_exif_that_cannot_be_read_is_a_picture_error_or_left_out() -> None:
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 4)).save(file, "JPEG", exif=exif)
    at = file.getvalue().index(b"Exif\0\0") + 6
    for damage in (b"XX*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff"):
        data = bytearray(file.getvalue())
        data[at : at + len(damage)] = damage
        with contextlib.suppress(PictureError):
            assert decoded(bytes(data), name="a.jpg").rgb.mode == "RGB"


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "rex").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "private.png")
    (tmp_path / "rex" / "0.png").symlink_to(tmp_path / "private.png")
    with pytest.raises(FileError, match="outside of"):
        Subject.of(tmp_path / "rex", noun="dog", handle="rex")
