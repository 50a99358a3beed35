"""One run of a job by a worker: files in, a workflow's events out, results into the database."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy.orm import Session

from limner.core.choices import choices_below, write_choice
from limner.errors import ChoiceNeeded, FileError, LimnerError
from limner.workflows import events as ev
from limner.workflows.controls import Controls
from limner.workflows.requests import BaseChoice, ConverseRequest

from .checkpoints import JobFolder, discard_checkpoint
from .conditions import Networks
from .database import Database
from .files import Files
from .heartbeat import AWAY, Heartbeat
from .layout import CHOICES, lay_out
from .lease import Turns
from .payloads import Plan, plan
from .progress import Progress
from .queue import LeaseLost, State, finish, hand_back, record
from .results import Results
from .tables import Job, JobEvent, User

log = logging.getLogger("limner.jobs")
PAUSES = ("learn", "paint", "protect", "compare", "states")
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
    networks: Networks
    lease: float
    shares: bool
    checkpoint_seconds: float
    run_workflow: Callable[..., Iterator[ev.Event]]
    llm: str
    llm_model: str
    stopping: threading.Event


class JobRun:
    """Runs one claimed job to its end, its pause, or its failure."""

    def __init__(self, worker: Host, job: Job) -> None:
        self.worker, self.job, self.database, self.files = worker, job, worker.database, worker.files
        self.controls = Controls(worker.turns)
        self.progress = Progress(job.progress)
        self._results: Results | None = None  # none before the payload is read
        self.paused = self.done = self.asks = False
        self.checkpoint: Mapping[str, Any] = job.checkpoint
        self.heartbeat = Heartbeat(
            self.database, job.id, worker.name, self.controls, lease=worker.lease, pauses=job.kind in PAUSES
        )

    @property
    def results(self) -> Results:
        assert self._results is not None
        return self._results

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
        except ChoiceNeeded as choice:
            self.progress.ask(self.results.asked(choice))
            self.asks = True
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
        self._results = Results(self.job, what, self.database, self.files, folder.path, num_pictures=self.progress.skip)
        lay_out(self.files, dict(what.files), dict(what.texts))
        choices = folder.path / CHOICES
        for name, numbers in self.progress.values.get("chosen", {}).items():
            write_choice(choices / name, numbers)
        self._record([{"event": "job_started", "worker": self.worker.name, "attempt": self.job.attempts}])
        with self.worker.bases() as open_base, choices_below(choices):
            events = self.worker.run_workflow(what.request, controls=self.controls, open_base=open_base)
            # a workflow is a generator, which the type of `run` does not promise
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
            what = plan(
                *(session, user, job.kind, job.payload),
                folder=folder.path,
                bases=self.worker.base_choices,
                networks=self.worker.networks,
                again=again,
                skip=self.progress.skip if job.kind == "paint" else 0,
            )
        if isinstance(what.request, ConverseRequest):
            request = replace(what.request, llm=self.worker.llm, llm_model=self.worker.llm_model)
            what = replace(what, request=request)
        return what

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

    def _record(self, events: list[dict[str, Any]], *, checkpoint: Mapping[str, Any] | None = None) -> bool:
        """Write events, rows and progress, and return whether they were written. While the database is away, they wait
        for the next time."""
        try:
            self._write(events, checkpoint)
        except AWAY as error:
            log.warning("events of job %s wait for the database: %s", self.job.id, error)
            return False
        return True

    def _write(self, events: list[dict[str, Any]], checkpoint: Mapping[str, Any] | None = None) -> None:
        rows = list(self.results.rows)

        def store(session: Session) -> None:
            for add in rows:
                add(session)

        try:
            record(
                *(self.database, self.job.id, self.worker.name, events, self.progress.values),
                checkpoint=checkpoint,
                store=store,
            )
        except AWAY:
            self.progress.put_back(events)
            raise
        del self.results.rows[: len(rows)]

    def _store_checkpoint(self, folder: JobFolder) -> None:
        """Put the files that training resumes from into the file store, for other machines. Where the store or the
        database does not answer, the work goes on, and other machines resume from the checkpoint before."""
        try:
            before, after = self.checkpoint, folder.store(self.results.store)
            # until the job's row names the later checkpoint, the earlier one stays
            if self._record(self.progress.events(), checkpoint=after):
                self.checkpoint = after
                discard_checkpoint(self.database, self.files, before, after)
        except (OSError, FileError, *AWAY) as error:
            log.warning(
                "the checkpoint of job %s was not stored, or the one before not deleted: %s", self.job.id, error
            )
            folder.last = time.monotonic()

    # --------------------------------------------------------------------------------------------------------- the end

    def _end(self, folder: JobFolder, failure: str) -> bool:
        """Write how the job ended. Returns whether its folder is of no more use."""
        ending, pausing = self.heartbeat.ending, self.heartbeat.pausing
        if ending == "lost":
            raise LeaseLost(f"{self.worker.name} no longer holds the job {self.job.id}")
        if ending == "cancel":
            self._finish("cancelled")
            return True
        if not failure and (self.asks or self.paused or (pausing and not self.done)):
            self._pause(folder)
            return False
        if not failure and not self.done:
            failure = "the work ended without a result, and without a reason"
        failure = failure or self._finish_done()
        if failure:
            self._finish("failed", failure)
            return False
        discard_checkpoint(self.database, self.files, self.checkpoint, {})
        return True

    def _pause(self, folder: JobFolder) -> None:
        """Write the pause, or give the job back to the queue where the worker itself ends."""
        if self.worker.shares and self.job.kind == "learn":
            self._store_checkpoint(folder)
        if self.heartbeat.pausing == "worker":
            self._patiently(self._hand_back)
        else:
            self._finish("paused")

    def _finish_done(self) -> str:
        """Store the result and end the job; return why its result cannot be stored, or nothing."""
        try:
            self._finish("done")
        except LeaseLost:
            raise
        except LimnerError as error:
            return str(error)
        except Exception as error:  # whatever it is, it is this job's failure, and not the worker's end
            log.exception("the result of job %s", self.job.id)
            return f"the result could not be stored: {str(error)[:300]}"
        return ""

    def _finish(self, state: State, failure: str = "") -> None:
        self._patiently(lambda: self._write_end(state, failure))

    def _write_end(self, state: State, failure: str) -> None:
        failure = failure.replace(f"{self.worker.data}/", "").replace("\0", "")
        if self._results is not None:
            self.progress.end(state)
            self._write_last(state)
        why = "choice" if self.asks else self.heartbeat.pausing
        about = {"why": why} if state == "paused" else {"failure": failure} if failure else {}

        def store(session: Session, job: Job) -> Mapping[str, Any] | None:
            # in the transaction of the end, so that a job has one end
            event = {"event": f"job_{state}", **about}
            session.add(JobEvent(job_id=job.id, time=self.database.now(session), record=event))
            return self.results.end(session, job) if state == "done" else None

        finish(self.database, self.job.id, self.worker.name, state, failure=failure, store=store)

    def _write_last(self, state: State) -> None:
        """Write the last events and rows. Where they cannot be stored, the job ends all the same, but is not done."""
        try:
            self._write(self.progress.events())
        except (LeaseLost, *AWAY):
            raise
        except Exception:  # whatever it is, it is this job's failure, and not the worker's end
            if state == "done":
                raise
            log.exception("the last events of job %s", self.job.id)

    def _hand_back(self) -> None:
        self._write(self.progress.events())
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
