"""Stored files as one ZIP, for downloading."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from limner.apps.jobs.files import Files


def streamed_zip(files: Files, rows: Iterable[tuple[str, str]]) -> Iterator[bytes]:
    """The bytes of a ZIP, with one file in memory at a time.

    files: the file store
    rows: name in the ZIP and SHA-256 of each file
    """
    sink = _Sink()
    # pictures and weights are compressed already
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for name, sha256 in rows:
            archive.writestr(name, files.read(sha256))
            yield sink.taken()
    yield sink.taken()


class _Sink(io.RawIOBase):
    """A file that is written once, from its start to its end, and whose bytes are taken on the way."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        part = bytes(data)  # type: ignore[call-overload]  # any buffer
        self._bytes += part
        return len(part)

    def taken(self) -> bytes:
        part = bytes(self._bytes)
        self._bytes.clear()
        return part
