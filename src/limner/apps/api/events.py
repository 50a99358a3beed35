"""Events of jobs as a stream (server-sent events), read from the database: any worker may have written them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio
from sqlalchemy import func, select
from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import AppStatus
from starlette.concurrency import run_in_threadpool

from limner.apps.jobs.access import ID
from limner.apps.jobs.tables import Job, JobEvent, User
from limner.apps.jobs.wishes import ENDED

from .errors import ApiError, not_found
from .fields import Record

if TYPE_CHECKING:
    from fastapi import Request

    from .services import Services

# Streams end by `Services.stopping`; the library's own flag would end those of every server in the process. The
# library leaves its function without types.
AppStatus.disable_automatic_graceful_drain()  # type: ignore[no-untyped-call]

EVERY = 0.4  # seconds between two looks
MOST = 200  # events of one look
PING = 15  # seconds


async def stream_events(
    request: Request, services: Services, me: User, *, job_id: str = "", after: int | None = 0
) -> EventSourceResponse:
    """The events of a job, or of all jobs of a user, from the one after `after` on (None: from now on).

    Each message has the event's id, and as data the event's record with the job's id, state and progress. A stream of
    one job ends with the event "job_over". Raises `ApiError` for a job that is not the user's and for too many streams.
    """
    await run_in_threadpool(_check, services, me, job_id)
    start = await run_in_threadpool(_last, services) if after is None else after
    if services.streams[me.id] >= services.config.limits.event_streams:
        text = f"you have {services.streams[me.id]} event streams open; close one"
        raise ApiError(429, "too_many_streams", text)
    return EventSourceResponse(_messages(request, services, me, job_id, start), ping=PING)


def _check(services: Services, me: User, job_id: str) -> None:
    if not job_id:
        return
    with services.database.reading() as session:
        job = session.get(Job, job_id) if ID.fullmatch(job_id) else None
        if job is None or job.owner_id != me.id:
            raise not_found("job")


def _last(services: Services) -> int:
    with services.database.reading() as session:
        return session.scalar(select(func.max(JobEvent.id))) or 0


async def _messages(
    request: Request, services: Services, me: User, job_id: str, after: int
) -> AsyncIterator[ServerSentEvent]:
    progress: dict[str, str] = {}
    with _counted(services, me):
        if services.streams[me.id] > services.config.limits.event_streams:
            return  # many were asked for at the same moment
        while not services.stopping.is_set():
            events, jobs = await run_in_threadpool(_look, services, me, job_id, after)
            for number, record in events:
                after = number
                yield message(record, number)
            for job in jobs:
                text = json.dumps([job["state"], job["progress"]])
                if progress.get(job["job"]) != text:
                    progress[job["job"]] = text
                    yield message({"event": "job_progress", **job}, after)
            if len(events) == MOST:
                continue
            if job_id and jobs and jobs[0]["state"] in ENDED:
                yield message({"event": "job_over", **jobs[0]}, after)
                return
            await anyio.sleep(EVERY)


def message(record: Record, number: int) -> ServerSentEvent:
    return ServerSentEvent(json.dumps(record), id=str(number))


@contextmanager
def _counted(services: Services, me: User) -> Iterator[None]:
    services.streams[me.id] += 1
    try:
        yield
    finally:
        services.streams[me.id] -= 1


def _look(services: Services, me: User, job_id: str, after: int) -> tuple[list[tuple[int, Record]], list[Record]]:
    """The next events, and the state of the job, or of all jobs that are not over."""
    wanted = select(JobEvent).join(Job, Job.id == JobEvent.job_id).where(Job.owner_id == me.id, JobEvent.id > after)
    jobs = select(Job.id, Job.kind, Job.state, Job.progress).where(Job.owner_id == me.id)
    if job_id:
        wanted, jobs = wanted.where(JobEvent.job_id == job_id), jobs.where(Job.id == job_id)
    else:
        jobs = jobs.where(Job.state.not_in(ENDED))
    with services.database.reading() as session:
        # the jobs first: a job that is over has written all of its events
        states = [
            {"job": j.id, "kind": j.kind, "state": j.state, "progress": j.progress} for j in session.execute(jobs)
        ]
        rows = session.scalars(wanted.order_by(JobEvent.id).limit(MOST)).all()
        events = [(row.id, {**row.record, "job": row.job_id, "time": row.time.isoformat()}) for row in rows]
    return events, states
