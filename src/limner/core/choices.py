"""The files of a person's choice among pictures that a training painted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from .files import write_text

CHOICE = "chosen.txt"
"""File with the numbers of the pictures to keep."""
_below: ContextVar[Path] = ContextVar("folder of choices", default=Path())


@contextmanager
def choices_below(folder: Path) -> Iterator[None]:
    """Within the block, folders of choices with relative names lie in `folder` in place of the working directory."""
    token = _below.set(folder)
    try:
        yield
    finally:
        _below.reset(token)


def choice_folder(name: Path | str) -> Path:
    """The folder of a choice."""
    return _below.get() / name


def picture_file(folder: Path, number: int) -> Path:
    """The file of a picture to choose from."""
    return folder / f"{number:03}.png"


def write_choice(folder: Path, numbers: Sequence[int]) -> None:
    """Write a choice as the person would."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / CHOICE, f"{' '.join(map(str, numbers))}\n", overwrite=True)
