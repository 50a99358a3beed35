"""Files are written whole or not at all, with the umask's mode, and only over files that limner wrote."""

from __future__ import annotations

import errno
import os
import re
import resource
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from limner.core import files
from limner.core.files import FileInTheWay, atomic_write, check_folder, check_place, is_ours, sweep, write_text
from limner.core.picture import Numbers, Picture, Pictures, save_sheet
from limner.errors import FileError

PICTURE = Picture(Image.new("RGB", (8, 8), "red"), "a red dog", 3, (), "pocket", {"steps": 2})
TENSORS = {"word": torch.arange(1000.0)}


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o027])
def test_files_have_the_mode_of_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        written = atomic_write(tmp_path / "a.safetensors", lambda p: save_file(TENSORS, p))
        text = write_text(tmp_path / "a.txt", "ö")
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (written, text)] == [0o666 & ~mask] * 2
    assert text.read_bytes() == "ö".encode()
    assert torch.equal(load_file(written)["word"], TENSORS["word"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.safetensors", "a.txt"]


def test_a_file_and_its_folder_are_brought_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        synced.append(Path(f"/proc/self/fd/{handle}").resolve().name)
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    write_text(tmp_path / "a.txt", "text")
    assert synced == ["a.txt", tmp_path.name]


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EFBIG, "larger than files may be"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "no permission"),
        (errno.EIO, os.strerror(errno.EIO)),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_every_failed_write_is_one_clear_line(tmp_path: Path, number: int, said: str, wrapped: bool) -> None:
    error: Exception = OSError(number, os.strerror(number))
    if wrapped:  # as safetensors tells them
        error = SafetensorError(f'Error while serializing: I/O error: Os {{ message: "x" }} (os error {number})')

    def write(part: Path) -> None:
        part.write_bytes(b"half")
        raise error

    path = write_text(tmp_path / "a.safetensors", "precious")
    with pytest.raises(FileError, match=re.escape(said)) as found:
        atomic_write(path, write, overwrite=True)
    assert "\n" not in str(found.value)
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


def test_a_limit_on_files_is_told_of_safetensors_too(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(FileError, match="larger than files may be"):
            atomic_write(tmp_path / "a.safetensors", lambda p: save_file(TENSORS, p))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_errors_that_are_no_writes_stay_what_they_are(tmp_path: Path) -> None:
    def write(_: Path) -> None:
        raise KeyError("a fault of ours")

    with pytest.raises(KeyError):
        atomic_write(tmp_path / "a", write)


def test_a_file_that_came_there_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "000.png"

    def write(part: Path) -> None:
        part.write_text("mine")
        path.write_text("another's")

    with pytest.raises(FileInTheWay, match="exists already"):
        atomic_write(path, write)
    assert path.read_text() == "another's"
    assert list(tmp_path.iterdir()) == [path]


def test_what_killed_writes_left_is_swept_and_what_is_being_written_is_not(tmp_path: Path) -> None:
    host, alive = files._host(), os.getpid()
    dead = next(k for k in range(4_000_000, 1, -1) if not files._runs(k))
    names = {
        "dead": f".limner-{host}-{dead}-0.part",
        "alive": f".limner-{host}-{alive}-999.part",
        "parent": f".limner-{host}-{os.getppid()}-0.part",
        "elsewhere": f".limner-other-{dead}-0.part",
        "long ago elsewhere": f".limner-other-{dead}-1.part",
        "no part of ours": ".limner-notes.part",
    }
    for name in names.values():
        (tmp_path / name).mkdir()
        (tmp_path / name / ".tmpAbCdEf").write_bytes(b"half a checkpoint")
    old = time.time() - files.ABANDONED - 10
    os.utime(tmp_path / names["long ago elsewhere"], (old, old))
    assert sorted(p.name for p in sweep(tmp_path)) == sorted([names["dead"], names["long ago elsewhere"]])
    left = {p.name for p in tmp_path.iterdir()}
    assert left == {names[n] for n in ("alive", "parent", "elsewhere", "no part of ours")}
    (tmp_path / names["dead"]).mkdir()
    check_folder(tmp_path)  # as every command does before its work
    assert {p.name for p in tmp_path.iterdir()} == left


def test_a_folder_is_tried_before_the_work(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(FileError, match="is a file; expected a folder"):
        check_folder(file)
    with pytest.raises(FileError, match="not a folder"):
        check_folder(file / "below")
    with pytest.raises(FileError, match="is a folder; expected the name of a file"):
        check_place(check_folder(tmp_path / "new"), overwrite=True)
    with pytest.raises(FileError, match="cannot be written into"):
        check_folder(Path("/proc/self"))
    assert check_place(tmp_path / "deep" / "below" / "a.png").parent.is_dir()


def test_limners_files_are_known_by_what_is_in_them(tmp_path: Path) -> None:
    ours = [
        PICTURE.save(tmp_path / "a.png"),
        save_sheet(PICTURE.image, tmp_path / "sheet.png"),
        atomic_write(tmp_path / "a.safetensors", lambda p: save_file(TENSORS, p, metadata={"limner": "{}"})),
        write_text(tmp_path / "a.html", f"<!doctype html>{files.GENERATOR}"),
        write_text(tmp_path / "earlier.html", "<!doctype html><meta charset=utf-8><title>rex — limner</title>"),
        write_text(tmp_path / "a.md", f"{files.COMMENT}\n\n| | F |"),
    ]
    theirs = [tmp_path / name for name in ("b.png", "b.jpg", "b.safetensors", "b.html", "b.md", "empty", "cut.png")]
    PICTURE.image.save(theirs[0])
    PICTURE.image.save(theirs[1])
    save_file(TENSORS, theirs[2], metadata={"format": "pt"})
    theirs[3].write_text("<!doctype html><title>limner notes of mine</title>")
    theirs[4].write_text("# rex")
    theirs[5].write_bytes(b"")
    theirs[6].write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    assert [is_ours(path) for path in ours] == [True] * len(ours)
    assert [is_ours(path) for path in theirs] == [False] * len(theirs)
    assert not is_ours(tmp_path)


def test_pictures_take_numbers_that_nobody_took_meanwhile(tmp_path: Path) -> None:
    (tmp_path / "1².png").write_text("no number")
    one, other = Numbers(tmp_path, 2), Numbers(tmp_path, 2)
    names = [saver.save(PICTURE).name for saver in (one, other, other, one)]
    assert names == ["000.png", "001.png", "002.png", "003.png"]
    assert [path.name for path in one.saved] == ["000.png", "003.png"]


def test_overwriting_means_limners_own_files(tmp_path: Path) -> None:
    PICTURE.image.save(tmp_path / "001.png")
    photo = (tmp_path / "001.png").read_bytes()
    with pytest.raises(FileInTheWay, match=r"001\.png was not written by limner"):
        Pictures([PICTURE, PICTURE]).save(tmp_path, overwrite=True)
    assert not (tmp_path / "000.png").exists()  # it was seen before the first was written
    assert Pictures([PICTURE]).save(tmp_path, overwrite=True) == [tmp_path / "000.png"]
    assert Pictures([PICTURE]).save(tmp_path, overwrite=True) == [tmp_path / "000.png"]
    with pytest.raises(FileInTheWay):
        save_sheet(PICTURE.image, tmp_path / "001.png")
    assert (tmp_path / "001.png").read_bytes() == photo
