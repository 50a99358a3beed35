"""The worker: claims jobs one after the other and runs them. Workers may share a database from many machines."""

from __future__ import annotations

import logging
import os
import random
import shutil
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from limner.core.memory import return_memory
from limner.workflows.requests import BaseChoice

from .conditions import NONE, Networks
from .database import Database
from .files import Files
from .heartbeat import AWAY
from .job_run import JobRun
from .lease import Bases, Turns
from .payloads import POCKET
from .queue import LEASE, claim, expire
from .retention import Keep, prune
from .tables import Job
from .uploads import sweep

if TYPE_CHECKING:
    from limner.workflows.controls import Controls
    from limner.workflows.events import Event

log = logging.getLogger("limner.jobs")
POLL = 0.25
"""Seconds between two looks for a job."""
TIDY_SECONDS = 3600.0
KEEP = Keep()
FAILED_DAYS = 7
"""Days for which the folder of a failed job is kept, so that it can be resumed."""


class Worker:
    """Claims jobs and runs them, in the thread that calls `run` or `step`.

    Args:
        database: the studio's database.
        files: the file store.
        name: the worker's name, unique among all; empty makes one from machine and process.
        data: folder for the files of running jobs, which should survive the process; None: a temporary folder.
        open_base: opens a base; None: `limner.workflows.opening.open_base`. Bases stay open between jobs.
        bases: gives the right to use open bases, in place of `open_base`: a painter's `lease`, where both share them.
        turns: the turns in which `bases` are used; a training gives way to others between two updates.
        base_choices: the bases that payloads may name, the default one first.
        networks: networks for conditions, beside those that bases and concepts have.
        kinds: kinds of jobs to take; None takes all.
        lease: seconds that the worker holds a job after each sign of life.
        shares: whether workers of other machines may resume this one's jobs, so that checkpoints go into the file
            store; None: with PostgreSQL.
        checkpoint_seconds: seconds between two checkpoints in the file store.
        run_workflow: runs a request; None: `limner.workflows.run.run`.
        keep: for how long old jobs and rows of the audit are kept.
        llm: URL of an OpenAI-compatible server whose language model reads the words of conversations; empty: the
            grammar. No payload names one.
        llm_model: name of the model on that server.
    """

    def __init__(
        self,
        database: Database,
        files: Files,
        *,
        name: str = "",
        data: Path | None = None,
        open_base: Callable[[BaseChoice], Any] | None = None,
        bases: Callable[[], AbstractContextManager[Callable[[BaseChoice], Any]]] | None = None,
        turns: Turns | None = None,
        base_choices: Sequence[BaseChoice] = POCKET,
        networks: Networks = NONE,
        kinds: Sequence[str] | None = None,
        lease: float = LEASE,
        shares: bool | None = None,
        checkpoint_seconds: float = 60.0,
        run_workflow: Callable[..., Iterator[Event]] | None = None,
        keep: Keep = KEEP,
        llm: str = "",
        llm_model: str = "",
    ) -> None:
        self.database, self.files = database, files
        self.name = name or f"{socket.gethostname()[:60]}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self.data = (data or Path(tempfile.mkdtemp(prefix="limner-worker-"))).resolve()
        self.bases, self.turns = bases or Bases(open_base).held, turns
        self.base_choices: Sequence[BaseChoice] = tuple(base_choices)
        self.networks = networks
        self.kinds, self.lease = kinds, lease
        self.shares = database.is_postgres if shares is None else shares
        self.checkpoint_seconds = checkpoint_seconds
        self.run_workflow, self.keep = run_workflow or _run_workflow, keep
        self.llm, self.llm_model = llm, llm_model
        self.stopping = threading.Event()
        self.job_id = ""  # id of the job that runs
        self.num_done = 0  # jobs that were run
        self._looked = self._tidied = 0.0

    def run(self, until: threading.Event) -> None:
        """Run jobs until the event is set; the current job then writes its checkpoint and goes back to the queue."""
        self.stopping = until
        while not until.is_set():
            try:
                self._tidy_sometimes()
                is_busy = self.step()
            except AWAY as error:
                log.warning("the database does not answer: %s", error)
                is_busy = False
                until.wait(2.0)
            except OSError:
                # the job goes back to the queue when its lease has run out
                log.exception("a job could not be started here")
                is_busy = False
                until.wait(5.0)
            if not is_busy:
                # workers look at different moments, so that they do not wait for each other
                until.wait(POLL * (0.5 + random.random()))

    def step(self) -> bool:
        """Run one job, where one waits. Returns whether one did."""
        if time.monotonic() - self._looked > self.lease / 4:
            self._looked = time.monotonic()
            for id in expire(self.database):
                log.warning("the worker of job %s ended without a word; the job is in the queue again", id)
        job = claim(self.database, worker=self.name, kinds=self.kinds, lease=self.lease)
        if job is None:
            return False
        self.job_id = job.id
        log.info("job %s: %s", job.id, job.kind)
        try:
            JobRun(self, job)()
        finally:
            self.job_id = ""
            self.num_done += 1
            return_memory()
        return True

    def _tidy_sometimes(self) -> None:
        """At the start and every hour, delete rows, folders and stored files of no more use."""
        if self._tidied and time.monotonic() - self._tidied < TIDY_SECONDS:
            return
        self._tidied = time.monotonic()
        try:
            rows = prune(self.database, self.keep)
            folders, files = len(self.tidy()), len(sweep(self.database, self.files))
        except Exception:  # jobs go on where there is something that cannot be tidied
            log.exception("rows, folders and files of no more use were not deleted; the next try is in an hour")
            return
        if any((*rows.values(), folders, files)):
            text = "deleted %d old jobs, %d old rows of the audit, %d folders of jobs and %d stored files"
            log.info(text, rows["jobs"], rows["audit"], folders, files)

    def tidy(self) -> list[Path]:
        """Delete the folders of jobs that are over, and return them."""
        folders = [path for path in (self.data / "jobs").glob("*") if path.is_dir()]
        old = time.time() - FAILED_DAYS * 86_400
        with self.database.reading() as session:
            names = [path.name[:32] for path in folders]
            states = dict(session.execute(select(Job.id, Job.state).where(Job.id.in_(names))).all())
        removed = []
        for path in folders:
            state = states.get(path.name[:32], "gone")
            if state in ("done", "cancelled", "gone") or (state == "failed" and path.stat().st_mtime < old):
                shutil.rmtree(path, ignore_errors=True)
                removed.append(path)
        return removed


def _run_workflow(request: Any, *, controls: Controls, open_base: Callable[[Any], Any] | None) -> Iterator[Event]:
    from limner.workflows.run import run

    return run(request, controls=controls, open_base=open_base)
