"""The thread that renews a worker's lease while a job runs, and hands on what people ask of it."""

from __future__ import annotations

import logging
import threading
import time

from sqlalchemy import select
from sqlalchemy.exc import InterfaceError, OperationalError, TimeoutError

from limner.workflows.controls import Controls

from .database import Database
from .queue import LeaseLost, renew
from .tables import Job

log = logging.getLogger("limner.jobs")
AWAY = (OperationalError, InterfaceError, TimeoutError)
"""Errors of a database that is away for a moment, or too busy."""
LOOK = 0.5
"""Seconds between two looks for wishes."""


class Heartbeat:
    """Renews the lease of a job, and asks its `Controls` for what people wish.

    `ending` is why the job is to end before its end: "cancel", "lost" (another worker has the job), or "". `pausing` is
    why it pauses: "person", "quota", "worker" (the worker itself ends), or "". With `pauses`, the workflow itself
    pauses, by its controls.
    """

    def __init__(
        self, database: Database, job_id: str, worker: str, controls: Controls, *, lease: float, pauses: bool
    ) -> None:
        self.database, self.job_id, self.worker, self.controls = database, job_id, worker, controls
        self.lease, self.pauses = lease, pauses
        self.ending = self.pausing = ""
        self._asked: set[str] = set()  # wishes in the row that are known here
        self._granted: set[str] = set()  # wishes that the workflow was asked for
        self._over = threading.Event()
        self._renewed = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=f"heartbeat {job_id[:8]}", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def pause(self, why: str) -> None:
        """Ask the job to pause, once."""
        self.pausing = self.pausing or why
        if self.pauses:
            self._ask("pause")

    def _run(self) -> None:
        while not self._over.wait(min(LOOK, self.lease / 8)):
            try:
                if self._is_due():
                    self._beat()
            except LeaseLost:
                self.ending = "lost"
                return
            except Exception as error:
                # whatever it is, the next try may succeed; once the lease has run out, another worker may have the job
                log.warning("the lease of job %s was not renewed: %s", self.job_id, error)
                if time.monotonic() - self._renewed > self.lease:
                    self.ending = "lost"
                    return

    def _is_due(self) -> bool:
        """Whether people ask for something, or the lease has had a quarter of its time. Looking takes no lock.

        The row's lease is compared with the database's clock, which jumps when a machine that slept wakes up: this
        worker's own clock stood still, and another worker would take the job.
        """
        if time.monotonic() - self._renewed > self.lease / 4:
            return True
        wanted = select(Job.state, Job.worker, Job.wishes, Job.lease).where(Job.id == self.job_id)
        with self.database.reading() as session:
            job = session.execute(wanted).first()
            left = (job.lease - self.database.now(session)).total_seconds() if job and job.lease else 0.0
        if job is None or (job.state, job.worker) != ("running", self.worker):
            raise LeaseLost(self.job_id)
        return left < 0.7 * self.lease or bool(job.wishes.keys() - self._asked)

    def _beat(self) -> None:
        wishes = renew(self.database, self.job_id, self.worker, self.lease)
        self._renewed = time.monotonic()
        if wishes.cancel:
            self._asked.add("cancel")
            self.ending = "cancel"
            if self.pauses:  # the workflow leaves its work at the next break
                self._ask("pause")
        if wishes.stop:
            self._asked.add("stop")
            self._ask("stop")
        if wishes.pause:
            self._asked.add("pause")
            self.pause("person")
        elif wishes.quota:
            self.pause("quota")
        for name in ("sample", "save"):
            if getattr(wishes, name):
                self.controls.ask(name)

    def _ask(self, name: str) -> None:
        """Ask the workflow for something, once: the row keeps the wish, should this worker end before it is granted."""
        if name not in self._granted:
            self._granted.add(name)
            self.controls.ask(name)
