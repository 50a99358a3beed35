"""Writing files whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from .errors import FileError


def atomic_write(path: Path, write: Callable[[Path], object], *, overwrite: bool = False) -> Path:
    """Let `write` fill a file beside `path`, then put it in place in one move.

    Raises `FileError` when something is there already and `overwrite` is off, when the folder cannot be written to, or
    when the disk is full; whatever was there before is untouched then.
    """
    if path.exists() and not overwrite:
        raise FileError(f"{path} exists already; choose another name, or say to overwrite it")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        os.replace(part, path)
    except OSError as error:
        raise FileError(f"{path} could not be written: {_why(error)}; nothing that was there is lost") from error
    except Exception as error:
        if "No space left" in str(error) or "os error 28" in str(error):  # safetensors wraps the system's error
            raise FileError(f"{path} could not be written: the disk is full; nothing that was there is lost") from error
        raise
    finally:
        part.unlink(missing_ok=True)
    return path


def _why(error: OSError) -> str:
    return "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else str(error.strerror or error)
