"""One run of a job by a worker: files in, a workflow's events out, results into the database."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any, Protocol

from limner.errors import FileError, LimnerError
from limner.workflows import events as ev
from limner.workflows.controls import Controls
from limner.workflows.requests import BaseChoice

from .checkpoints import JobFolder, discard_checkpoint
from .database import Database
from .files import Files
from .heartbeat import AWAY, Heartbeat
from .layout import lay_out
from .lease import Turns
from .payloads import Plan, plan
from .progress import Progress
from .queue import LeaseLost, finish, hand_back, record
from .results import Results
from .tables import Job, User

log = logging.getLogger("limner.jobs")
PAUSES = ("learn", "paint")
"""Kinds of jobs that pause where they are; any other begins anew."""
PATIENCE = 60.0
"""Seconds for which the end of a job is tried again while the database is away."""


class Host(Protocol):
    """The worker, as a job sees it; `worker.Worker` explains each field."""

    name: str
    data: Path
    database: Database
    files: Files
    bases: Callable[[], AbstractContextManager[Callable[[BaseChoice], Any]]]
    turns: Turns | None
    base_choices: Sequence[BaseChoice]
    lease: float
    shares: bool
    checkpoint_seconds: float
    run_workflow: Callable[..., Iterator[ev.Event]]
    stopping: threading.Event


class JobRun:
    """Runs one claimed job to its end, its pause, or its failure."""

    def __init__(self, worker: Host, job: Job) -> None:
        self.worker, self.job, self.database, self.files = worker, job, worker.database, worker.files
        self.controls = Controls(worker.turns)
        self.progress = Progress(job.progress)
        self.paused = self.done = False
        self.checkpoint: Mapping[str, Any] = job.checkpoint
        self.heartbeat = Heartbeat(
            self.database, job.id, worker.name, self.controls, lease=worker.lease, pauses=job.kind in PAUSES
        )

    def __call__(self) -> None:
        """Run the job. Errors of the workflow become the job's failure; only interrupts leave this method."""
        folder = JobFolder.for_job(self.worker.data / "jobs", self.job)
        over = False
        try:
            with self.heartbeat:
                failure = self._failure_of(folder)
            over = self._end(folder, failure)
        except LeaseLost as error:
            log.warning("%s", error)
        finally:
            folder.close(remove=over)

    def _failure_of(self, folder: JobFolder) -> str:
        """Run the workflow; return why it failed, or nothing."""
        try:
            self._work(folder)
        except LeaseLost:
            self.heartbeat.ending = "lost"
        except LimnerError as error:
            # paths of this machine are nothing to the job's owner
            return str(error).replace(f"{folder.path}/", "")
        except MemoryError as error:
            return f"there is not enough memory for this job: {str(error)[:300] or 'allocation failed'}"
        except Exception as error:
            log.exception("job %s failed", self.job.id)
            if type(error).__name__ == "OutOfMemoryError":
                return f"there is not enough memory on the GPU for this job: {str(error)[:300]}"
            return f"an unexpected error of limner, {type(error).__name__}: {str(error)[:500]}"
        return ""

    def _work(self, folder: JobFolder) -> None:
        again = folder.restore(self.job, self.files)
        what = self._planned(folder, again)
        self.results = Results(self.job, what, self.database, self.files, folder.path, num_pictures=self.progress.skip)
        lay_out(self.files, dict(what.files), dict(what.texts))
        self._record([{"event": "job_started", "worker": self.worker.name, "attempt": self.job.attempts}])
        with self.worker.bases() as open_base:
            events = self.worker.run_workflow(what.request, controls=self.controls, open_base=open_base)
            with closing(events) as running:  # type: ignore[type-var]
                for event in running:
                    self._take(event, folder)
                    if self.heartbeat.ending or (self.heartbeat.pausing and not self.heartbeat.pauses):
                        return
        if self.done:
            self.results.prepare()

    def _planned(self, folder: JobFolder, again: bool) -> Plan:
        job = self.job
        with self.database.reading() as session:
            user = session.get(User, job.owner_id)
            assert user is not None  # a foreign key
            about = {"folder": folder.path, "bases": self.worker.base_choices}
            skip = self.progress.skip if job.kind == "paint" else 0
            return plan(session, user, job.kind, job.payload, again=again, skip=skip, **about)  # type: ignore[arg-type]

    # ---------------------------------------------------------------------------------------------------- while it runs

    def _take(self, event: ev.Event, folder: JobFolder) -> None:
        self.paused = self.paused or isinstance(event, ev.Paused)
        self.done = self.done or isinstance(event, ev.RunDone)
        shown = self.results.take(event)
        self.progress.take(event, shown, self.results.num_pictures)
        if self.worker.stopping.is_set():
            self.heartbeat.pause("worker")
        is_due = self.worker.shares and self.job.kind == "learn" and folder.is_due(self.worker.checkpoint_seconds)
        if is_due:
            self._store_checkpoint(folder)
        elif self.progress.is_due or self.results.rows:
            self._record(self.progress.events())

    def _record(self, events: list[dict[str, Any]], *, checkpoint: Mapping[str, Any] | None = None) -> None:
        """Write events, rows and progress. While the database is away they wait for the next time."""
        rows = list(self.results.rows)

        def store(session: Any) -> None:
            for add in rows:
                add(session)

        try:
            record(
                *(self.database, self.job.id, self.worker.name, events, self.progress.values),
                checkpoint=checkpoint,
                store=store,
            )
        except AWAY as error:
            log.warning("events of job %s wait for the database: %s", self.job.id, error)
            self.progress.put_back(events)
        else:
            del self.results.rows[: len(rows)]

    def _store_checkpoint(self, folder: JobFolder) -> None:
        """Put the files that training resumes from into the file store, for other machines. Where the store does not
        answer, the work goes on, and this machine alone can resume it."""
        try:
            before, after = self.checkpoint, folder.store(self.results.store)
        except (OSError, FileError) as error:
            log.warning("the checkpoint of job %s is on this machine alone: %s", self.job.id, error)
            folder.last = time.monotonic()
            return
        self._record(self.progress.events(), checkpoint=after)
        self.checkpoint = after
        discard_checkpoint(self.database, self.files, before, after)

    # --------------------------------------------------------------------------------------------------------- the end

    def _end(self, folder: JobFolder, failure: str) -> bool:
        """Write how the job ended. Returns whether its folder is of no more use."""
        ending, pausing = self.heartbeat.ending, self.heartbeat.pausing
        if ending == "lost":
            raise LeaseLost(f"{self.worker.name} no longer holds the job {self.job.id}")
        if ending == "cancel":
            self._patiently(lambda: self._finish("cancelled"))
            return True
        if failure:
            self._patiently(lambda: self._finish("failed", failure))
            return False
        if self.paused or (not self.done and pausing):
            if self.worker.shares and self.job.kind == "learn":
                self._store_checkpoint(folder)
            if pausing == "worker":
                self._patiently(lambda: self._hand_back())
            else:
                self._patiently(lambda: self._finish("paused"))
            return False
        if not self.done:
            self._patiently(lambda: self._finish("failed", "the work ended before its end, without a reason"))
            return False
        try:
            self._patiently(lambda: self._finish("done"))
        except LeaseLost:
            raise
        except LimnerError as error:
            refusal = str(error)
            self._patiently(lambda: self._finish("failed", refusal))
            return False
        except Exception as error:  # whatever it is, it is this job's failure, and not the worker's end
            log.exception("the result of job %s", self.job.id)
            why = f"the result could not be stored: {str(error)[:300]}"
            self._patiently(lambda: self._finish("failed", why))
            return False
        discard_checkpoint(self.database, self.files, self.checkpoint, {})
        return True

    def _finish(self, state: Any, failure: str = "") -> None:
        results = getattr(self, "results", None)
        failure = failure.replace(f"{self.worker.data}/", "").replace("\0", "")
        self.progress.end(state, failure, self.heartbeat.pausing)
        if results is not None:
            self._record(self.progress.events())
        store = results.end if results is not None and state == "done" else None
        finish(self.database, self.job.id, self.worker.name, state, failure=failure, store=store)

    def _hand_back(self) -> None:
        self._record(self.progress.events())
        hand_back(self.database, self.job.id, self.worker.name)

    def _patiently(self, end: Callable[[], object]) -> None:
        """Try again while the database is away. Afterwards the lease runs out, and another worker takes the job."""
        began = time.monotonic()
        while True:
            try:
                end()
            except AWAY as error:
                if time.monotonic() - began > PATIENCE:
                    raise LeaseLost(f"the end of job {self.job.id} could not be written: {error}") from error
                log.warning("the end of job %s waits for the database: %s", self.job.id, error)
                time.sleep(1.0)
            else:
                return
