"""The workers of the server's own process: one teaches, the other paints and does everything that is quick."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from datetime import timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING

import structlog
from sqlalchemy import update

from limner.apps.jobs.queue import QUICK, SLOW, expire
from limner.apps.jobs.tables import Job
from limner.apps.jobs.worker import Worker
from limner.errors import InputError

if TYPE_CHECKING:
    from limner.apps.jobs.database import Database
    from limner.apps.jobs.files import Files
    from limner.apps.jobs.painter import Painter

    from .config import Config

log = structlog.get_logger("limner.api")


class Workers:
    """Worker threads that run until the server stops.

    While one trains on a base of its own, the other shares the painter's base, so that painting does not wait for a
    training. With `one_base`, for bases of which the memory holds one, both share it: a picture waits for the update
    that is being computed, and the training goes on after it.
    """

    def __init__(
        self, config: Config, database: Database, files: Files, painter: Painter, stopping: threading.Event
    ) -> None:
        self.database, self.stopping = database, stopping
        self.lock = lock_folder(config.data)
        name = f"{socket.gethostname()[:60]}-{hashlib.sha256(str(config.data).encode()).hexdigest()[:10]}"
        self.workers = [
            Worker(
                database,
                files,
                name=f"{name}-{kind}",
                data=config.data / "work",
                bases=painter.lease if kind == "quick" or config.one_base else None,
                turns=painter.bases.turns if kind == "slow" and config.one_base else None,
                base_choices=(config.base,),
                kinds=kinds,
                llm=config.llm,
                llm_model=config.llm_model,
            )
            for kind, kinds in (("quick", QUICK), ("slow", SLOW))
        ]
        self.threads = [
            threading.Thread(target=self._run, args=(worker,), name=f"worker {worker.name}", daemon=True)
            for worker in self.workers
        ]

    def start(self) -> None:
        """Start the threads. Jobs that these workers held when their process was killed go on at once."""
        names = [worker.name for worker in self.workers]
        database = self.database
        with database.session() as session:
            late = database.now(session) - timedelta(seconds=1)
            held = update(Job).where(Job.state == "running", Job.worker.in_(names))
            session.execute(held.values(lease=late))
        for number in expire(database):
            log.warning("job.again", job=number)
        for thread in self.threads:
            thread.start()

    def _run(self, worker: Worker) -> None:
        while not self.stopping.is_set():
            try:
                worker.run(self.stopping)
            except Exception:
                # one job's fault must not end the work on all others
                log.exception("worker.failed", worker=worker.name)
                self.stopping.wait(1.0)

    @property
    def are_alive(self) -> bool:
        return all(thread.is_alive() for thread in self.threads)

    def join(self, seconds: float) -> None:
        """Wait until the threads have ended; the server has been told to stop."""
        for thread in self.threads:
            thread.join(seconds)
            if thread.is_alive():
                log.warning("worker.busy", worker=thread.name, seconds=seconds)
        self.lock.close()


def lock_folder(folder: Path) -> IO[bytes]:
    """Lock a data folder for this process; closing the file, or the end of the process, unlocks it. Raises `InputError`
    where another process works in it."""
    file = (folder / "lock").open("wb")
    try:
        if os.name == "posix":
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise InputError(
            f"another limner studio works in {folder}; use that one, end it, or give this one a folder of its own with "
            "--data"
        ) from error
    return file
