"""Text files as people save them."""

from __future__ import annotations

from pathlib import Path

from limner.errors import FileError


def decoded(path: Path) -> str:
    """The text of a UTF-8 file, without the byte order mark that some editors put before it.

    Raises `FileError` for a file in another encoding.
    """
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(
            f"{path} is not UTF-8 text (byte {error.start + 1} is 0x{data[error.start]:02x}); save it as UTF-8"
        ) from error
