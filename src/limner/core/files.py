"""Writing files atomically, and replacing only files that limner wrote."""

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
"""Prefix of the temporary folders that files are first written into: `.limner-HOST-PID-N.part`."""
ABANDONED = 86_400.0
"""Age in seconds from which a temporary folder of another machine counts as abandoned."""
_numbers = itertools.count()


class FileInTheWay(FileError):
    """A file of that name exists already, and it may not be replaced."""


def atomic_write(path: Path, write: Callable[[Path], object], *, overwrite: bool = False) -> Path:
    """Let `write` fill a temporary file beside `path`, then move it to `path` in one step, safe against a power loss.

    The file's mode follows the umask, whatever mode `write` gave it. Raises `FileInTheWay` when `path` exists and
    `overwrite` is off, also when another process created it meanwhile, and `FileError` where the file cannot be written
    for another reason (a full disk, a quota, a limit, no permission). After an error, an existing file is unchanged.
    """
    if path.exists() and not overwrite:
        raise _in_the_way(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _part_folder(path.parent) as folder:
            part = folder / path.name
            # a new file has the mode of the umask; safetensors replaces it by one that only the owner can read
            part.touch()
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
    """Write a text by `atomic_write`, in UTF-8 whatever the locale."""
    return atomic_write(path, lambda part: part.write_text(text, encoding="utf-8"), overwrite=overwrite)


def why_not(error: Exception) -> str:
    """The reason for a failed write in plain words, from an error of the system or from the message of one of
    safetensors."""
    number = getattr(error, "errno", None)
    if number is None:
        match = re.search(r"os error (\d+)", str(error))
        number = int(match[1]) if match else 28 if "No space left" in str(error) else None
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
    return FileInTheWay(f"{path} exists already; choose another name, or allow it to be overwritten")


def _put(part: Path, path: Path, overwrite: bool) -> None:
    """Move a finished file to its place. Without `overwrite`, a file that another process created there meanwhile is
    kept: making a hard link fails where the name exists. On file systems without hard links, the name is checked just
    before the move."""
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
    """Flush a file, or a folder's list of names, to the disk. Does nothing for a folder on systems that cannot open
    one."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        if path.is_dir():
            return
        raise
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):  # a file system without fsync
            raise
    finally:
        os.close(handle)


# ---------------------------------------------------------------------------------------------------- temporary folders


@contextmanager
def _part_folder(beside: Path) -> Iterator[Path]:
    """A temporary folder of this process, deleted at the end with everything that libraries wrote into it."""
    folder = beside / f"{PART}{_host()}-{os.getpid()}-{next(_numbers)}.part"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(folder: Path) -> list[Path]:
    """Delete the temporary folders of killed processes from a folder, those of other machines after a day. Returns
    the deleted paths."""
    folders = [place for place in folder.glob(f"{PART}*.part") if _abandoned(place)] if folder.is_dir() else []
    for place in folders:
        shutil.rmtree(place, ignore_errors=True)
    return folders


def _abandoned(place: Path) -> bool:
    match = re.fullmatch(re.escape(PART) + r"(.+)-(\d+)-\d+\.part", place.name)
    if match is None or place.is_symlink():
        return False
    if match[1] != _host():
        try:
            return time.time() - place.stat().st_mtime > ABANDONED
        except OSError:
            return False
    return int(match[2]) != os.getpid() and not _runs(int(match[2]))


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it runs, under another user
        return True
    return True


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9]", "", platform.node())[:32] or "here"


# -------------------------------------------------------------------------------------------- checks before the writing


def check_folder(folder: Path) -> Path:
    """Make sure, before any long work, that files can be written into a folder, and delete the temporary folders of
    killed processes from it. Raises `FileError` with the reason where it cannot be written into."""
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
    """Make sure, before any long work, that a file can be written. With `overwrite`, an existing file must be one that
    limner wrote. Raises `FileError` with the reason where it cannot be written."""
    check_folder(path.parent)
    if path.is_dir():
        raise FileError(f"{path} is a folder; expected the name of a file")
    if path.exists() and not overwrite:
        raise _in_the_way(path)
    return check_ours(path)


def check_ours(path: Path) -> Path:
    """Raise `FileInTheWay` where a file exists that limner did not write: such files are never replaced."""
    if path.exists() and not is_ours(path):
        raise FileInTheWay(
            f"{path} was not written by limner, so it is not replaced; move it away, or choose another name"
        )
    return path


MARK = "limner"
"""Key in the text of a PNG and in the header of a safetensors file that limner wrote."""
GENERATOR = '<meta name="generator" content="limner">'
"""Mark of an HTML page that limner wrote. COMMENT is the mark of a Markdown page."""
COMMENT = "<!-- limner -->"


def is_ours(path: Path) -> bool:
    """Whether limner wrote a file, by a mark in its content, never by its name. False for a file that cannot be
    read."""
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
        return re.search(rb'!\xfe.\{"limner": ', head, re.DOTALL) is not None  # beginning of limner's comment
    if path.suffix == ".safetensors":
        return _header_is_ours(path, head)
    text = head[:4096]
    return any(sign in text for sign in _SIGNS)


_SIGNS = (
    GENERATOR.encode(),
    COMMENT.encode(),
    " — limner</title>".encode(),  # pages of earlier versions
    b'{"limner": ',  # the first line of JSON lines
    b'{"done": ',  # the same in earlier versions
    b"<title>limner bench</title>",
    b"label,method,number,mean,",
    b"| s to learn | kB |",
    b"| s to teach | kB |",  # the same in earlier versions
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
    """Whether the EXIF of a WebP, which may follow the pixels, has limner's record of the picture."""
    with path.open("rb") as file:
        file.seek(12)
        while len(head := file.read(8)) == 8:
            (length,) = struct.unpack("<I", head[4:])
            if head[:4] == b"EXIF":
                return b'{"limner": ' in file.read(min(length, 65_536))
            file.seek(length + length % 2, os.SEEK_CUR)
    return False


def _header_is_ours(path: Path, head: bytes) -> bool:
    """Whether the header of a safetensors file has one of limner's keys."""
    return len(head) >= 8 and any(key == MARK or key.startswith(f"{MARK}.") for key in header_marks(path))


def header_marks(path: Path) -> dict[str, str]:
    """The metadata in the header of a safetensors file; empty where the file cannot be read as one."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            metadata = json.loads(file.read(min(length, 100_000_000))).get("__metadata__") or {}
    except (OSError, ValueError, AttributeError, struct.error):
        return {}
    return {str(key): str(value) for key, value in metadata.items()} if isinstance(metadata, dict) else {}
