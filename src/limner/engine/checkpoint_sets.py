"""Checkpoints of several subjects that belong to one moment: all of a set are there, or none.

Subjects trained in one pass end at the same bits only if they go on from the same update, since sums over the rows of a
pass are added up in another order where a neighbour is missing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

Writer = Callable[[Path], object]
"""Writes one subject's checkpoint to a file."""


class CheckpointSets:
    """Sets in the folders 000001, 000002, ... of `folder`, of which the last that is complete counts.

    folder: where the sets are; made when the first one is written
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def last(self) -> Path | None:
        """The folder of the last complete set."""
        sets = sorted(path for path in self._entries() if path.name.isdecimal())
        return sets[-1] if sets else None

    def path(self, name: str) -> Path | None:
        """The checkpoint of a subject in the last set; None where it has none."""
        last = self.last
        checkpoint = last / f"{name}.safetensors" if last else None
        return checkpoint if checkpoint is not None and checkpoint.exists() else None

    def write(self, writers: Mapping[str, Writer], *, keep: Iterable[str] = ()) -> None:
        """Write a set of these subjects, by name, and delete those before. The checkpoints of the subjects to `keep`
        are taken over from the last set as they are."""
        last = self.last
        number = int(last.name) + 1 if last else 1
        part = self.folder / f"{number:06}.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        for name in keep:
            before = self.path(name)
            if before is not None:
                shutil.copy2(before, part / before.name)
        for name, write in writers.items():
            write(part / f"{name}.safetensors")
        os.replace(part, self.folder / f"{number:06}")
        _sync(self.folder)
        self._sweep(keep=f"{number:06}")

    def clear(self, *, keep: Iterable[str] = ()) -> None:
        """Delete all sets, but for the checkpoints of the subjects to `keep`; the folder too, where nothing is left."""
        names = [name for name in keep if self.path(name) is not None]
        if names:
            self.write({}, keep=names)
        elif self.folder.exists():
            self._sweep()
            if not any(self.folder.iterdir()):
                self.folder.rmdir()

    def _sweep(self, *, keep: str = "") -> None:
        for path in self._entries():
            if path.name != keep and path.name.removesuffix(".part").isdecimal():
                shutil.rmtree(path, ignore_errors=True)

    def _entries(self) -> list[Path]:
        return list(self.folder.iterdir()) if self.folder.is_dir() else []


def _sync(folder: Path) -> None:
    """Bring a folder's entries to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
