"""Writing files whole or not at all, and only over files that limner wrote."""

from __future__ import annotations

import errno
import itertools
import json
import os
import platform
import re
import shutil
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from limner.errors import FileError

PART = ".limner-"
"""How the names of folders begin in which files are written before they are put in place: `.limner-HOST-PID-N.part`."""
ABANDONED = 86_400.0
"""Seconds after which such a folder of another machine is taken for left behind."""
_numbers = itertools.count()


class FileInTheWay(FileError):
    """There is a file of that name already, and it may not be replaced."""


def atomic_write(path: Path, write: Callable[[Path], object], *, overwrite: bool = False) -> Path:
    """Let `write` fill a file beside `path`, then put it in place in one move that also a power loss does not undo.

    The file has the mode that the umask says, whatever `write` gave it. Raises `FileInTheWay` when something is there
    already and `overwrite` is off, also when it came there meanwhile, and `FileError` for every other reason why it
    cannot be written (a full disk, a quota, a limit, no permission); whatever was there before is untouched then.
    """
    if path.exists() and not overwrite:
        raise _in_the_way(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _part_folder(path.parent) as folder:
            part = folder / path.name
            part.touch()  # with the mode that the umask says; safetensors makes its file anew, for the owner alone
            mode = part.stat().st_mode & 0o777
            write(part)
            os.chmod(part, mode)
            _sync(part)
            _put(part, path, overwrite)
        _sync(path.parent)
    except OSError as error:
        raise FileError(f"{path} could not be written: {why_not(error)}; nothing that was there is lost") from error
    except Exception as error:
        if not _is_safetensors(error):
            raise
        raise FileError(f"{path} could not be written: {why_not(error)}; nothing that was there is lost") from error
    return path


def write_text(path: Path, text: str, *, overwrite: bool = False) -> Path:
    """`atomic_write` of a text, in UTF-8 whatever the locale."""
    return atomic_write(path, lambda part: part.write_text(text, encoding="utf-8"), overwrite=overwrite)


def why_not(error: Exception) -> str:
    """The reason of a failed write in plain words: of the system's own error, or of one that safetensors tells in its
    message."""
    number = getattr(error, "errno", None)
    if number is None:
        told = re.search(r"os error (\d+)", str(error))
        number = int(told[1]) if told else 28 if "No space left" in str(error) else None
    if number in _REASONS:
        return _REASONS[number]
    return os.strerror(number) if number else (str(error).strip().splitlines() or [type(error).__name__])[0]


_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "it is larger than files may be here (see `ulimit -f`)",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "there is no permission to write there",
    errno.EPERM: "there is no permission to write there",
    errno.ENOTDIR: "a part of its path is a file, not a folder",
    errno.EEXIST: "a part of its path is a file, not a folder",
    errno.ENAMETOOLONG: "its name is too long",
}


def _is_safetensors(error: Exception) -> bool:
    from safetensors import SafetensorError

    return isinstance(error, SafetensorError)


def _in_the_way(path: Path) -> FileInTheWay:
    return FileInTheWay(f"{path} exists already; choose another name, or say to overwrite it")


def _put(part: Path, path: Path, overwrite: bool) -> None:
    """Move a finished file to its place. Without `overwrite`, one that came there meanwhile wins: a hard link is made
    only where there is nothing of that name. File systems without hard links are asked before the move instead."""
    if overwrite:
        os.replace(part, path)
        return
    try:
        os.link(part, path)
    except FileExistsError as error:
        raise _in_the_way(path) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        if path.exists():
            raise _in_the_way(path) from error
        os.replace(part, path)


def _sync(path: Path) -> None:
    """Bring a file, or a folder's list of names, from the system's memory to the disk. Systems that cannot open a
    folder leave that one out."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        if path.is_dir():
            return
        raise
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):  # a file system that has no such thing
            raise
    finally:
        os.close(handle)


# ---------------------------------------------------------------------------------------------- what kills leave behind


@contextmanager
def _part_folder(beside: Path) -> Iterator[Path]:
    """A folder of this process's own, gone afterwards. Whatever a library leaves in it under names of its own goes with
    it."""
    folder = beside / f"{PART}{_host()}-{os.getpid()}-{next(_numbers)}.part"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(folder: Path) -> list[Path]:
    """Delete what killed writes left in a folder: parts whose process is gone, those of other machines after a day.
    Returns them."""
    found = [place for place in folder.glob(f"{PART}*.part") if _abandoned(place)] if folder.is_dir() else []
    for place in found:
        shutil.rmtree(place, ignore_errors=True)
    return found


def _abandoned(place: Path) -> bool:
    told = re.fullmatch(re.escape(PART) + r"(.+)-(\d+)-\d+\.part", place.name)
    if told is None or place.is_symlink():
        return False
    if told[1] != _host():
        try:
            return time.time() - place.stat().st_mtime > ABANDONED
        except OSError:
            return False
    return int(told[2]) != os.getpid() and not _runs(int(told[2]))


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        return True
    return True


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9]", "", platform.node())[:32] or "here"


# ------------------------------------------------------------------------------------------ whose a file or a folder is


def check_folder(folder: Path) -> Path:
    """Make sure that files can be written into a folder, before any work is done for them; what earlier kills left
    there is swept. Raises `FileError` that says why not."""
    if folder.exists() and not folder.is_dir():
        raise FileError(f"{folder} is a file; expected a folder to write into: name another")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _part_folder(folder) as part:
            (part / "trial").write_bytes(b"trial")
    except OSError as error:
        raise FileError(f"{folder} cannot be written into: {why_not(error)}; name another folder") from error
    sweep(folder)
    return folder


def check_place(path: Path, *, overwrite: bool = False) -> Path:
    """Make sure that a file can be written, before any work is done for it. With `overwrite` a file that is there must
    be limner's. Raises `FileError` that says why not."""
    check_folder(path.parent)
    if path.is_dir():
        raise FileError(f"{path} is a folder; expected the name of a file")
    if path.exists() and not overwrite:
        raise _in_the_way(path)
    return check_ours(path)


def check_ours(path: Path) -> Path:
    """Raise `FileInTheWay` where there is a file that limner did not write: such files are never replaced."""
    if path.exists() and not is_ours(path):
        raise FileInTheWay(
            f"{path} was not written by limner, so it is not replaced; move it away, or choose another name"
        )
    return path


MARK = "limner"
"""Key of a PNG's text and of a safetensors header, by which a file that limner wrote is known."""
GENERATOR = '<meta name="generator" content="limner">'
"""The same in a page, and in Markdown as a comment."""
COMMENT = "<!-- limner -->"


def is_ours(path: Path) -> bool:
    """Whether limner wrote a file: by the mark in its first bytes, never by its name. A file that cannot be read is
    not."""
    try:
        with path.open("rb") as file:
            head = file.read(65_536)
    except OSError:
        return False
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png_is_ours(head)
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return _webp_is_ours(path)
    if head.startswith((b"GIF87a", b"GIF89a")):
        return re.search(rb'!\xfe.\{"limner": ', head, re.DOTALL) is not None  # how a comment of ours begins
    if path.suffix == ".safetensors":
        return _header_is_ours(path, head)
    text = head[:4096]
    return any(sign in text for sign in _SIGNS)


_SIGNS = (
    GENERATOR.encode(),
    COMMENT.encode(),
    " — limner</title>".encode(),  # pages of earlier editions
    b'{"limner": ',  # the first line of JSON lines
    b'{"done": ',  # the same of earlier editions
    b"<title>limner bench</title>",
    b"label,method,number,mean,",
    b"| s to teach | kB |",
)


def _png_is_ours(head: bytes) -> bool:
    """Whether one of the text chunks before the pixels has limner's key."""
    at = 8
    while at + 8 <= len(head):
        (length,), kind = struct.unpack(">I", head[at : at + 4]), head[at + 4 : at + 8]
        if kind in (b"iTXt", b"tEXt", b"zTXt") and head[at + 8 :].startswith(MARK.encode() + b"\0"):
            return True
        if kind in (b"IDAT", b"IEND"):
            return False
        at += 12 + length
    return False


def _webp_is_ours(path: Path) -> bool:
    """Whether the EXIF of a WebP, which may stand behind the pixels, has limner's story."""
    with path.open("rb") as file:
        file.seek(12)
        while len(head := file.read(8)) == 8:
            (length,) = struct.unpack("<I", head[4:])
            if head[:4] == b"EXIF":
                return b'{"limner": ' in file.read(min(length, 65_536))
            file.seek(length + length % 2, os.SEEK_CUR)
    return False


def _header_is_ours(path: Path, head: bytes) -> bool:
    """Whether a safetensors file's header has a key of limner's."""
    return len(head) >= 8 and any(key == MARK or key.startswith(f"{MARK}.") for key in header_marks(path))


def header_marks(path: Path) -> dict[str, str]:
    """The texts in the header of a safetensors file; none of a file that cannot be read as one."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            metadata = json.loads(file.read(min(length, 100_000_000))).get("__metadata__") or {}
    except (OSError, ValueError, AttributeError, struct.error):
        return {}
    return {str(key): str(value) for key, value in metadata.items()} if isinstance(metadata, dict) else {}
