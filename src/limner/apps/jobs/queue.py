"""The queue of jobs. Every function is one transaction, safe between threads, processes and machines.

A worker claims a job for as long as its lease lasts and renews the lease while it works. Where it ends without a word,
the lease runs out and `expire` gives the job to another worker. Only the worker that holds a job changes it: a worker
that comes too late gets `LeaseLost`, and stores nothing.

Positions make the queue fair: a user's next job is placed behind that user's others, but beside the first jobs of the
others, so that a hundred jobs of one user do not hold up the single job of another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from limner.errors import InputError, LimnerError, UnknownName

from .busy_conversations import must_wait, without_busy_conversations
from .database import Database
from .ordering import fair_position
from .ordering import move as move
from .quotas import QuotaExceeded as QuotaExceeded
from .quotas import check_quota, is_spent, locked_user
from .tables import Job, JobEvent, User, new_id
from .wishes import ENDED, WISHES, Wishes
from .wishes import wish as wish

SLOW = ("learn", "protect")
"""Kinds of jobs that take minutes to hours. A server with one worker for these and one for `QUICK` paints while it
teaches."""
QUICK = (
    *("paint", "score", "check", "export", "import", "merge", "publish", "swap", "try-on", "compare", "look"),
    *("estimate", "states", "converse"),
)
KINDS = (*SLOW, *QUICK)
LEASE = 60.0
"""Seconds that a worker holds a job after each renewal."""
MOST_ATTEMPTS = 5
"""Claims after which a job whose workers end without a word has failed: it may be the reason that they end."""
State = Literal["done", "failed", "paused", "cancelled"]


class LeaseLost(LimnerError):
    """A worker no longer holds a job: its lease ran out, or the job was taken from it."""


# ---------------------------------------------------------------------------------------------------- adding and claims


def submit(database: Database, *, owner: str, kind: str, payload: Mapping[str, Any], key: str = "") -> str:
    """Add a job at its fair position and return its id.

    Args:
        owner: id of the user.
        kind: one of `KINDS`.
        payload: see `payloads.py`.
        key: idempotency key; a second job with the same key is not added, and the first one's id is returned.

    Raises `QuotaExceeded`, and `InputError` for an unknown or disabled user and for a key that belongs to another job.
    """
    if kind not in KINDS:
        raise UnknownName("kind of job", kind, KINDS)
    if len(key) > 128:
        raise InputError(f"an idempotency key has at most 128 characters, not {len(key)}")
    with database.session() as session:
        user = locked_user(session, owner)
        if key and (known := session.scalar(select(Job).where(Job.owner_id == owner, Job.key == key))):
            if (known.kind, known.payload) != (kind, dict(payload)):
                raise InputError(f"the idempotency key {key!r} belongs to another job; use a new key for a new job")
            return known.id
        now = database.now(session)
        check_quota(session, user, now)
        job = Job(id=new_id(), owner_id=owner, kind=kind, payload=dict(payload), key=key or None, created=now)
        job.position = fair_position(session, owner)
        session.add(job)
        return job.id


def claim(database: Database, *, worker: str, kinds: Sequence[str] | None = None, lease: float = LEASE) -> Job | None:
    """Take the first waiting job and return it; None where none waits. Two workers never get the same job, and a
    sentence of a conversation waits while another one is answered: each reply holds the whole conversation.

    Args:
        worker: name of the worker, unique among all workers.
        kinds: kinds of jobs to take; None takes every kind.
        lease: seconds until another worker may take the job, unless it is renewed.
    """
    wanted = _waiting(kinds)
    with database.reading() as session:  # most looks find nothing, and need no lock
        if session.scalar(wanted) is None:
            return None
    with database.session() as session:
        job = session.scalar(wanted.with_for_update(skip_locked=True))
        if job is None or must_wait(session, job):
            return None
        now = database.now(session)
        job.state, job.worker, job.claimed, job.lease = "running", worker, now, now + timedelta(seconds=lease)
        job.started, job.ended, job.failure = job.started or now, None, ""
        job.attempts += 1
        return job


def _waiting(kinds: Sequence[str] | None) -> Select[Job]:
    wanted = select(Job).where(Job.state == "queued", without_busy_conversations())
    if kinds is not None:
        wanted = wanted.where(Job.kind.in_(kinds))
    return wanted.order_by(Job.position, Job.created, Job.id).limit(1)


# ------------------------------------------------------------------------------------------------------ while it runs


def renew(database: Database, job_id: str, worker: str, lease: float = LEASE) -> Wishes:
    """Renew a worker's lease; return what people ask of the job. Raises `LeaseLost`."""
    with database.session() as session:
        job = held(session, job_id, worker)
        job.lease = database.now(session) + timedelta(seconds=lease)
        asked = {name: bool(job.wishes.get(name)) for name in WISHES if name != "resume"}
        owner = session.get(User, job.owner_id)
        spent = owner is not None and is_spent(session, owner, database.now(session))
        wishes = Wishes(**asked, quota=spent)
        job.wishes = {name: count for name, count in job.wishes.items() if name not in ("sample", "save")}
        return wishes


def record(
    database: Database,
    job_id: str,
    worker: str,
    events: Sequence[Mapping[str, Any]],
    progress: Mapping[str, Any] | None = None,
    *,
    checkpoint: Mapping[str, Any] | None = None,
    store: Callable[[Session], object] | None = None,
) -> None:
    """Append events to a job.

    Args:
        events: JSON objects with a key "event".
        progress: the job's progress, where it changed.
        checkpoint: the job's checkpoint in the file store, where it changed.
        store: called in the same transaction, to add rows that the events name.

    Raises `LeaseLost`.
    """
    with database.session() as session:
        job = held(session, job_id, worker)
        now = database.now(session)
        session.add_all(JobEvent(job_id=job_id, time=now, record=dict(each)) for each in events)
        if progress is not None:
            job.progress = dict(progress)
        if checkpoint is not None:
            job.checkpoint = dict(checkpoint)
        if store is not None:
            store(session)


def finish(
    database: Database,
    job_id: str,
    worker: str,
    state: State,
    *,
    result: Mapping[str, Any] | None = None,
    failure: str = "",
    store: Callable[[Session, Job], Mapping[str, Any] | None] | None = None,
) -> None:
    """End a worker's work on a job.

    Args:
        state: "done", "failed", "paused" or "cancelled".
        result: the job's result, in types that JSON can hold.
        failure: what went wrong, for people.
        store: called in the same transaction to add the rows of the result, so that they are stored once or not at
            all; what it returns is added to the result.

    Raises `LeaseLost`.
    """
    with database.session() as session:
        job = held(session, job_id, worker)
        more = store(session, job) if store else None
        _let_go(job, database.now(session))
        job.state, job.failure = state, failure
        if result is not None or more:
            job.result = {**(result or {}), **(more or {})}
        if state in ENDED:
            job.ended, job.wishes = database.now(session), {}
            if state != "failed":  # a failed job can be resumed; of the others, the sweep deletes the checkpoint
                job.checkpoint = {}
        else:
            job.wishes = {name: count for name, count in job.wishes.items() if name != "pause"}


def hand_back(database: Database, job_id: str, worker: str) -> None:
    """Give a job back to the queue, at its place: the worker is told to end. Raises `LeaseLost`."""
    with database.session() as session:
        job = held(session, job_id, worker)
        _let_go(job, database.now(session))
        job.state, job.attempts = "queued", max(0, job.attempts - 1)


def held(session: Session, job_id: str, worker: str) -> Job:
    """The job, locked, which this worker must hold. Raises `LeaseLost`."""
    job = session.scalar(select(Job).where(Job.id == job_id).with_for_update())
    if job is None or job.state != "running" or job.worker != worker:
        now = "deleted" if job is None else f"{job.state} at {job.worker}" if job.worker else job.state
        raise LeaseLost(f"{worker} no longer holds the job {job_id}, which is now {now}")
    return job


def _let_go(job: Job, now: datetime) -> None:
    # a clock that was set back takes no seconds off the quota
    job.seconds += max(0.0, (now - job.claimed).total_seconds()) if job.claimed else 0.0
    job.worker, job.lease, job.claimed = "", None, None


def expire(database: Database) -> list[str]:
    """Give jobs whose lease ran out back to the queue, and return their ids. A job that was claimed `MOST_ATTEMPTS`
    times fails instead."""
    with database.reading() as session:
        if session.scalar(_late(database.now(session)).limit(1)) is None:
            return []
    with database.session() as session:
        now = database.now(session)
        jobs = session.scalars(_late(now).with_for_update(skip_locked=True)).all()
        for job in jobs:
            worker = job.worker
            _let_go(job, job.lease or now)
            job.state = "queued"
            if job.attempts >= MOST_ATTEMPTS:
                job.state, job.ended = "failed", now
                job.failure = f"{job.attempts} workers ended while they ran this job, the last one is {worker}"
        return [job.id for job in jobs]


def _late(now: datetime) -> Select[Job]:
    return select(Job).where(Job.state == "running", Job.lease < now)
