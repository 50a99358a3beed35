"""The files that `learn` writes, and their state when it is interrupted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from limner.core.files import check_folder, check_place, is_ours
from limner.engine.checkpoint import CHECKPOINT
from limner.errors import InputError

PAGE, SHEET, SIGNALS = "index.html", "grid.png", "signals.jsonl"


def page_folder(out: Path, name: str, *, pictures: Iterable[Path], count: int, resume: bool = False) -> Path:
    """The folder for a subject's page, checkpoint and `count` previews: OUT/NAME, or the first of OUT/NAME-page,
    OUT/NAME-page-2, … that neither is nor holds a folder of the user's `pictures`, and has no file of the user's that
    would be replaced. A checkpoint to `resume` from is not examined here: the code that reads it reports its faults."""
    places = {place for path in pictures for place in _folders(path.resolve())}
    names = [name, f"{name}-page", *(f"{name}-page-{k}" for k in range(2, 100))]
    written = [PAGE, SHEET, *([] if resume else [CHECKPOINT, SIGNALS]), *(f"{k:03}.png" for k in range(count))]
    for folder in (out / each for each in names):
        mine = not folder.is_file() and folder.resolve() not in places
        if mine and all(is_ours(file) for file in (folder / each for each in written) if file.exists()):
            return folder
    raise InputError(f"{out} holds a hundred folders of pictures called {name}: choose another --out")


def _folders(path: Path) -> Sequence[Path]:
    """A folder of pictures, or a picture's folder, and all its parent folders."""
    return [*([path] if path.is_dir() else []), *path.parents]


def check_target(target: Path, *, overwrite: bool, resume: bool) -> None:
    """Raise `InputError` or `FileError`, before training, where a concept cannot be written. An existing file is
    refused, unless limner wrote it and it may be overwritten or a run is to be resumed."""
    check_folder(target.parent)
    if target.exists() and not overwrite and not resume:
        raise InputError(f"{target} exists already; choose another --name or --out, or say --overwrite")
    check_place(target, overwrite=overwrite or resume)


def check_preview(count: int) -> None:
    if count < 0:
        raise InputError(f"--preview is a number of pictures, 0 for none, not {count}")


def what_is_kept(target: Path, page: Path, *, resume: bool) -> Callable[[], str]:
    """A function that returns the message for an interrupted `learn`. It compares the files at that time with those of
    now; a checkpoint that exists now counts for a run that is to `resume` from it."""
    checkpoint = page / CHECKPOINT
    before, checkpoint_before = _state(target), None if resume else _state(checkpoint)

    def describe() -> str:
        if _state(target) != before:
            return (
                f"the concept is complete in {target}; the same command with --resume scores and paints it without "
                "more training"
            )
        if _state(checkpoint) not in (None, checkpoint_before):
            return f"the checkpoint is {checkpoint}; the same command with --resume continues from it"
        if before is not None:
            return f"{target} is unchanged"
        return "there is no checkpoint yet; the same command starts from the beginning"

    return describe


def _state(path: Path) -> tuple[int, int] | None:
    """The identity of a file (inode and time of change), so that a replacement is noticed; None without a file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns
