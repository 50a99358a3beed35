"""The folder of a running job: it survives the worker, so that training resumes from its checkpoint to the same bits.

Where several machines work for one database, the files that training resumes from are also put into the file store, at
every pause and from time to time, so that another machine goes on.
"""

from __future__ import annotations

import fcntl
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from sqlalchemy import delete

from .database import Database
from .files import Files
from .layout import OUTPUTS
from .tables import File, Job

RESUMES = (".safetensors", ".jsonl")
"""Suffixes of the files that training resumes from; pages and pictures are made anew."""
RUN = "run"
"""File in a job's folder with the mark of the last run in it; the job's row has the same mark."""


class JobFolder:
    """A job's folder on this machine, locked while a worker runs the job in it."""

    def __init__(self, path: Path, lock: IO[str]) -> None:
        self.path, self._lock = path, lock
        self.mark = ""
        self._seen: dict[str, tuple[int, int, str]] = {}  # name -> size, time of change, SHA-256
        self.last = time.monotonic()  # when the checkpoint was stored last
        self.took = 0.0  # seconds that this took

    @classmethod
    def for_job(cls, root: Path, job: Job) -> JobFolder:
        """Open the folder of a job. A worker that hangs, and whose lease ran out, keeps its lock: then the job gets
        another folder, and resumes from the file store."""
        for name in (job.id, f"{job.id}-{uuid.uuid4().hex[:8]}"):
            path = root / name
            path.mkdir(parents=True, exist_ok=True)
            lock = (path / "lock").open("a", encoding="utf-8")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.close()
            else:
                return cls(path, lock)
        raise AssertionError("a folder with a new name is locked already")

    def restore(self, job: Job, files: Files) -> bool:
        """Make the folder hold the job's last state, and mark it as this run's. Returns whether an earlier run left
        something to resume from."""
        mine, stored = self.path / RUN, dict(job.checkpoint.get("files", {}))
        last = mine.read_text(encoding="utf-8") if mine.exists() else ""
        if stored and last != job.checkpoint.get(RUN):
            # the last run was on another machine
            shutil.rmtree(self.path / OUTPUTS, ignore_errors=True)
            for name, sha256 in stored.items():
                files.copy_to(sha256, self.path / OUTPUTS / name)
        self.mark = uuid.uuid4().hex
        mine.write_text(self.mark, encoding="utf-8")
        out = self.path / OUTPUTS
        return out.exists() and any(path.suffix in RESUMES for path in out.rglob("*"))

    def store(self, keep: Callable[[Path], str]) -> dict[str, Any]:
        """Put the files that training resumes from into the file store, by `keep`, which returns a file's SHA-256;
        return the job's checkpoint. A file that did not change since the last call is not read again."""
        began = time.monotonic()
        stored = {}
        for path in sorted((self.path / OUTPUTS).rglob("*")):
            if path.suffix in RESUMES and path.is_file():
                name = str(path.relative_to(self.path / OUTPUTS))
                status = path.stat()
                size, changed, sha256 = self._seen.get(name, (-1, -1, ""))
                if (size, changed) != (status.st_size, status.st_mtime_ns):
                    sha256 = keep(path)
                self._seen[name] = status.st_size, status.st_mtime_ns, sha256
                stored[name] = sha256
        self.last = time.monotonic()
        self.took = self.last - began
        return {RUN: self.mark, "files": stored}

    def is_due(self, seconds: float) -> bool:
        """Whether the checkpoint should be stored again: after `seconds`, or more where storing takes long."""
        return time.monotonic() - self.last > max(seconds, 20 * self.took)

    def close(self, *, remove: bool = False) -> None:
        """Unlock the folder, and delete it where the job is over."""
        if remove:
            shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def discard_checkpoint(database: Database, files: Files, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Delete the files of an earlier checkpoint that the later one no longer names. A state of training is no other
    job's content, except for saved states, which are named by rows and left to the sweep."""
    gone = {
        sha256
        for name, sha256 in before.get("files", {}).items()
        if sha256 not in after.get("files", {}).values() and Path(name).name.startswith(("checkpoint", "signals"))
    }
    for sha256 in gone:
        with database.session() as session:
            session.execute(delete(File).where(File.sha256 == sha256))
        files.delete(sha256)
