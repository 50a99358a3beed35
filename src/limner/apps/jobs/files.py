"""The file store: content named by its SHA-256, in a folder or in any store that fsspec opens, such as S3.

No name that a client gives becomes a path: a file's place follows from its hash alone. Every reading verifies the hash.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from limner.core.files import atomic_write
from limner.errors import FileError, InputError, MissingExtra

HASH = re.compile(r"[0-9a-f]{64}")
SUFFIX = re.compile(r"(\.[a-z0-9]{1,16})?")
BLOCK = 1 << 20  # bytes hashed at a time
MOST_LOCAL = 4 << 30
"""Bytes of local copies; the oldest are deleted beyond."""


class Files:
    """A store of files that are named by the SHA-256 of their content. Threads and processes may share it.

    Args:
        system: the file system of fsspec.
        root: its folder of the files.
        is_folder: whether it is a folder of this machine, where a file is moved into place in one step.
        copies: folder of this machine for `local`.
    """

    def __init__(self, system: Any, root: str, *, is_folder: bool, copies: Path) -> None:
        self.system, self.root, self.is_folder, self.copies = system, root.rstrip("/"), is_folder, copies

    def put(self, data: bytes) -> str:
        """Store content and return its SHA-256. Content that is there already is stored once."""
        return self._put(
            *(hashlib.sha256(data).hexdigest(), len(data)),
            write=lambda part: part.write_bytes(data),
            send=lambda place: self.system.pipe_file(place, data),
        )

    def put_file(self, path: Path) -> str:
        """Store the content of a file of this machine and return its SHA-256."""
        return self._put(
            *(hash_of(path), path.stat().st_size),
            write=lambda part: shutil.copyfile(path, part),
            send=lambda place: self.system.put_file(str(path), place),
        )

    def _put(self, sha256: str, size: int, *, write: Callable[[Path], object], send: Callable[[str], object]) -> str:
        """Store content of this hash and size, by `write` in a folder and by `send` elsewhere."""
        place = self._place(sha256)
        if not self.has(sha256) or self._is_damaged(sha256, size):
            if self.is_folder:
                atomic_write(Path(place), write, overwrite=True)
            else:  # a store of objects shows an object only once it is whole
                self.system.makedirs(place.rsplit("/", 1)[0], exist_ok=True)
                send(place)
        return sha256

    def has(self, sha256: str) -> bool:
        return bool(self.system.exists(self._place(sha256)))

    def size(self, sha256: str) -> int:
        """Bytes of a file. Raises `FileError` where it is missing."""
        try:
            return int(self.system.size(self._place(sha256)))
        except FileNotFoundError as error:
            raise _missing(sha256) from error

    def read(self, sha256: str) -> bytes:
        """The content of a file. Raises `FileError` where it is missing, or damaged since it was stored."""
        try:
            data: bytes = self.system.cat_file(self._place(sha256))
        except FileNotFoundError as error:
            raise _missing(sha256) from error
        _verify(sha256, hashlib.sha256(data).hexdigest())
        return data

    def copy_to(self, sha256: str, path: Path) -> Path:
        """Copy a file to a path of this machine, verified. Raises `FileError` as `read`."""

        def fetch(part: Path) -> None:
            self.system.get_file(self._place(sha256), str(part))
            _verify(sha256, hash_of(part))

        if not self.has(sha256):
            raise _missing(sha256)
        return atomic_write(path, fetch, overwrite=True)

    def local(self, sha256: str, suffix: str = "") -> Path:
        """A verified copy on this machine, whose name ends in `suffix` (".png"). Do not write to it."""
        if not SUFFIX.fullmatch(suffix):
            raise InputError(f"a suffix is a dot with letters and digits, such as .png, not {suffix[:40]!r}")
        path = self.copies / f"{_checked(sha256)}{suffix}"
        if path.exists() and hash_of(path) == sha256:
            path.touch()
            return path
        self.copy_to(sha256, path)
        self._trim(keep=path)
        return path

    def delete(self, sha256: str) -> None:
        """Delete a file; a missing one is deleted already."""
        place = self._place(sha256)
        for path in self.copies.glob(f"{sha256}*"):
            path.unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            self.system.rm_file(place)

    def all(self) -> Iterator[str]:
        """The SHA-256 of every file in the store."""
        for path in self.system.find(self.root) if self.system.exists(self.root) else ():
            first, _, rest = str(path).rpartition("/")
            sha256 = first[-2:] + rest
            if HASH.fullmatch(sha256):
                yield sha256

    def verify(self) -> dict[str, str]:
        """Read all files, and return SHA-256 -> fault for those that are damaged."""
        faults = {}
        for sha256 in self.all():
            try:
                self.read(sha256)
            except FileError as error:
                faults[sha256] = str(error)
        return faults

    def _place(self, sha256: str) -> str:
        return f"{self.root}/{_checked(sha256)[:2]}/{sha256[2:]}"

    def _is_damaged(self, sha256: str, size: int) -> bool:
        """Whether stored content differs from its name, so that it is stored again: by hash in a folder, by size in a
        store of objects, which keeps checksums of its own."""
        if self.is_folder:
            return hash_of(Path(self._place(sha256))) != sha256
        return self.size(sha256) != size

    def _trim(self, keep: Path) -> None:
        """Delete the oldest local copies beyond `MOST_LOCAL` bytes, never `keep`."""
        files = [(path.stat(), path) for path in self.copies.iterdir() if path.is_file() and path != keep]
        total = sum(status.st_size for status, _ in files)
        for status, path in sorted(files, key=lambda file: file[0].st_mtime):
            if total <= MOST_LOCAL:
                return
            path.unlink(missing_ok=True)
            total -= status.st_size


def open_files(url: str, *, copies: Path | None = None) -> Files:
    """Open a file store.

    Args:
        url: a folder, or a URL of fsspec: "s3://bucket/folder", "gcs://…", "sftp://…".
        copies: folder for copies on this machine; None: within the store where it is a folder, else a temporary folder.

    Raises `InputError` for an unknown kind of URL, and `MissingExtra` where its library is not installed.
    """
    import fsspec

    if "://" not in url or url.startswith("file://"):
        folder = Path(url.removeprefix("file://")).resolve()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder} cannot be a file store: {error.strerror or error}") from error
        return Files(fsspec.filesystem("file"), str(folder), is_folder=True, copies=copies or folder / "copies")
    kind = url.split("://", 1)[0]
    try:
        # a cached listing would hide what other machines store
        system, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        extra = "limner[s3]" if kind == "s3" else f"fsspec[{kind}]"
        raise MissingExtra(f"a file store at {kind}:// needs a library: pip install '{extra}'") from error
    except ValueError as error:
        raise InputError(f"a file store is a folder or a URL such as s3://bucket/folder, not {url[:100]!r}") from error
    return Files(system, root, is_folder=False, copies=copies or Path(tempfile.mkdtemp(prefix="limner-files-")))


def hash_of(path: Path) -> str:
    """SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _checked(sha256: str) -> str:
    if not HASH.fullmatch(sha256):
        raise InputError(f"a stored file is named by 64 hexadecimal digits, not {sha256[:80]!r}")
    return sha256


def _verify(sha256: str, actual: str) -> None:
    if actual != sha256:
        raise FileError(f"the stored file {sha256} is damaged: its content now has the SHA-256 {actual}; store it anew")


def _missing(sha256: str) -> FileError:
    return FileError(f"the stored file {sha256} is missing; store it anew")
