"""Where `learn` writes, and what is true of it when it is interrupted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from limner.core.files import check_folder, check_place, is_ours
from limner.engine.checkpoint import CHECKPOINT
from limner.errors import InputError

PAGE, SHEET, SIGNALS = "index.html", "grid.png", "signals.jsonl"


def page_folder(out: Path, name: str, *, pictures: Iterable[Path], count: int, resume: bool = False) -> Path:
    """The folder for a subject's page, checkpoint and `count` previews: OUT/NAME, or the first of OUT/NAME-page,
    OUT/NAME-page-2, … that neither is nor holds a folder of the user's `pictures`, and has no file of the user's
    that would be replaced. A checkpoint to `resume` from is not looked at here: whoever reads it says what is
    wrong with it."""
    places = {place for path in pictures for place in _folders(path.resolve())}
    names = [name, f"{name}-page", *(f"{name}-page-{k}" for k in range(2, 100))]
    written = [PAGE, SHEET, *([] if resume else [CHECKPOINT, SIGNALS]), *(f"{k:03}.png" for k in range(count))]
    for folder in (out / each for each in names):
        mine = not folder.is_file() and folder.resolve() not in places
        if mine and all(is_ours(file) for file in (folder / each for each in written) if file.exists()):
            return folder
    raise InputError(f"{out} holds a hundred folders of pictures called {name}: choose another --out")


def _folders(path: Path) -> Sequence[Path]:
    """A folder of pictures, or a picture's folder, and all folders that it is in."""
    return [*([path] if path.is_dir() else []), *path.parents]


def check_target(target: Path, *, overwrite: bool, resume: bool) -> None:
    """Make sure that a concept can be written, before it is taught. A file that is there is refused, unless limner
    wrote it and it is to be overwritten or a run is to be resumed."""
    check_folder(target.parent)
    if target.exists() and not overwrite and not resume:
        raise InputError(f"{target} exists already; choose another --name or --out, or say --overwrite")
    check_place(target, overwrite=overwrite or resume)


def check_preview(count: int) -> None:
    if count < 0:
        raise InputError(f"--preview is a number of pictures, 0 for none, not {count}")


def what_is_kept(target: Path, page: Path, *, resume: bool) -> Callable[[], str]:
    """The line with which an interrupted `learn` ends: by the files that are there then, told from those that are
    there now. A checkpoint that was there before counts for a run that is to `resume` from it."""
    checkpoint = page / CHECKPOINT
    before, begun = _state(target), None if resume else _state(checkpoint)

    def describe() -> str:
        if _state(target) != before:
            return (
                f"the concept is whole in {target}; the same command with --resume scores and paints it, and "
                "teaches no more"
            )
        if _state(checkpoint) not in (None, begun):
            return f"what was learned is kept in {checkpoint}; the same command with --resume goes on from there"
        if before is not None:
            return f"{target} is as it was"
        return "nothing was learned yet that could be kept; the same command begins anew"

    return describe


def _state(path: Path) -> tuple[int, int] | None:
    """Which file is there, as far as another one put in its place can be told."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
