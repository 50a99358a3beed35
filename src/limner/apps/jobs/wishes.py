"""Wishes of people for jobs: pause, stop, cancel, sample, save and resume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from limner.errors import InputError, UnknownName

from .database import Database
from .ordering import fair_position
from .quotas import check_quota, check_seconds, locked_user
from .tables import Job, JobEvent

WISHES = ("pause", "stop", "cancel", "sample", "save", "resume")
ENDED = ("done", "failed", "cancelled")


@dataclass(frozen=True)
class Wishes:
    """Wishes for a running job. `pause`, `stop` and `cancel` stay until the job ends; `sample` and `save` are
    given once. `quota` says that the owner's seconds of work are used up, for which a job is paused too."""

    pause: bool = False
    stop: bool = False
    cancel: bool = False
    sample: bool = False
    save: bool = False
    quota: bool = False


def wish(database: Database, job_id: str, what: str) -> str:
    """Ask something of a job, and return its state then. A running job's worker acts within seconds.

    Args:
        what: "pause"; "stop" (end training and keep the concept as it is); "cancel" (keep nothing); "sample" and
            "save", which a running training does at once; "resume", for a job that is paused or failed.

    Raises `InputError` for a job that cannot do this in its state.
    """
    if what not in WISHES:
        raise UnknownName("wish", what, WISHES)
    with database.session() as session:
        job = session.scalar(select(Job).where(Job.id == job_id).with_for_update())
        if job is None:
            raise InputError(f"there is no job {job_id[:40]!r}")
        if job.state == "running":
            _ask(job, what)
        elif what in ("pause", "cancel", "stop", "resume"):
            _change(session, job, what, database)
        else:
            raise InputError(f"the job is {job.state}; {what!r} is for a job that runs")
        return job.state


def choose(database: Database, job_id: str, numbers: Sequence[int]) -> str:
    """Answer a job that waits for a person's choice among pictures, so that it goes on, and return its state then.

    Args:
        numbers: the places, from 0, of the pictures to keep among those of the job's progress.

    Raises `InputError` for a job that asks for no choice, and for numbers that are none.
    """
    with database.session() as session:
        job = session.scalar(select(Job).where(Job.id == job_id).with_for_update())
        asked = (job.progress or {}).get("choice") if job is not None and job.state == "paused" else None
        if job is None or asked is None:
            raise InputError("the job does not wait for a choice among pictures")
        count, keep = len(asked["pictures"]), int(asked["keep"])
        if not 1 <= len(numbers) <= keep or len(set(numbers)) < len(numbers) or not set(numbers) <= set(range(count)):
            raise InputError(
                f"choose from 1 to {keep} different ones of the {count} pictures, not {list(numbers)[:20]}"
            )
        rest = {name: value for name, value in job.progress.items() if name != "choice"}
        job.progress = {**rest, "chosen": {**rest.get("chosen", {}), asked["folder"]: sorted(numbers)}}
        _change(session, job, "resume", database)
        return job.state


def _ask(job: Job, what: str) -> None:
    """Note a wish for the worker. To resume is to take back that it pauses."""
    wishes = dict(job.wishes)
    if what == "resume":
        wishes.pop("pause", None)
    else:
        wishes[what] = int(wishes.get(what, 0)) + 1
    job.wishes = wishes


def _change(session: Session, job: Job, what: str, database: Database) -> None:
    """Change a job that no worker holds."""
    now = database.now(session)
    before = job.state
    match what, job.state:
        case "pause", "queued":
            job.state = "paused"
        case "pause", "paused":
            pass
        case "cancel", "queued" | "paused":
            job.state, job.ended, job.wishes, job.checkpoint = "cancelled", now, {}, {}
        case "resume", "queued":
            pass
        case "resume", "paused" | "failed":
            # a failed job is one more that waits; a paused one is counted already
            check = check_quota if before == "failed" else check_seconds
            check(session, locked_user(session, job.owner_id), now)
            job.position = fair_position(session, job.owner_id)
            job.state, job.ended, job.failure, job.attempts = "queued", None, "", 0
        case "stop", "queued" | "paused" if job.started is not None:
            # a worker opens its checkpoint, stops at once and keeps the concept
            _ask(job, "stop")
            job.state = "queued"
        case "stop", "queued" | "paused":
            raise InputError("the job has not started, so there is nothing to keep; cancel it")
        case _, state:
            raise InputError(f"the job is {'over: ' if state in ENDED else ''}{state}; it cannot {what}")
    if job.state != before:
        session.add(JobEvent(job_id=job.id, time=now, record={"event": f"job_{job.state}"}))
