"""/api/jobs: work of every kind, its progress and its events."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Path, Request
from pydantic import Field
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from sse_starlette import EventSourceResponse
from starlette.responses import Response

from limner.apps.jobs import retention
from limner.apps.jobs.ordering import move
from limner.apps.jobs.tables import Job, User
from limner.apps.jobs.wishes import choose, wish

from ..errors import not_found
from ..events import stream_events
from ..fields import Fields, Id, Number, Record, Word
from ..services import Services
from .common import Limit, Me, Work, add_job, file_response, find_own, note
from .records import files_of, job_record

router = APIRouter(prefix="/api", tags=["jobs"])
Wish = Literal["pause", "stop", "cancel", "resume", "sample", "save"]


class NewJob(Fields):
    """A job: its kind, and the fields of its workflow's request, with ids in place of files."""

    kind: str
    payload: dict[str, Any]


class Place(Fields):
    """The job to stand before; null: the end of the queue."""

    before: Id | None = None


class Choice(Fields):
    """A choice among the pictures that a job shows: the places, from 0, of those to keep."""

    numbers: Annotated[list[int], Field(max_length=1000)]


@router.post("/jobs", status_code=202)
def submit_job(job: NewJob, work: Work, me: Me) -> Record:
    """Add a job to the queue."""
    return show_job(add_job(work, me, job.kind, job.payload), work, me)


@router.get("/jobs")
def list_jobs(work: Work, me: Me, state: Word = "", kind: Word = "", limit: Limit = 100, before: Word = "") -> Record:
    """The user's jobs, the newest first; `before` is the id of the last job of the page before."""
    wanted = select(Job).where(Job.owner_id == me.id)
    if state:
        wanted = wanted.where(Job.state.in_(state.split(",")))
    if kind:
        wanted = wanted.where(Job.kind.in_(kind.split(",")))
    with work.database.reading() as session:
        if before:
            wanted = wanted.where(Job.created < find_own(session, Job, before, me).created)
        rows = session.scalars(wanted.order_by(Job.created.desc()).limit(limit)).all()
        return {"jobs": [job_record(row) for row in rows], "waiting_before_mine": waiting_before(session, me)}


def waiting_before(session: Session, me: User) -> int:
    """Number of jobs, of all users, that are taken before the user's first waiting one."""
    first = session.scalar(select(func.min(Job.position)).where(Job.owner_id == me.id, Job.state == "queued"))
    if first is None:
        return 0
    ahead = select(func.count()).select_from(Job).where(Job.state == "queued", Job.position < first)
    return session.scalar(ahead) or 0


@router.get("/jobs/{number}")
def show_job(number: str, work: Work, me: Me) -> Record:
    """A job with its payload, progress and result."""
    with work.database.reading() as session:
        return job_record(find_own(session, Job, number, me), whole=True)


@router.get("/jobs/{number}/files/{place}")
def download_file(number: str, place: Annotated[int, Path(ge=0, lt=2**53)], work: Work, me: Me) -> Response:
    """A file of a job's `files`, by its place in the list, which begins at 0."""
    return job_file(work, me, number, place)


def job_file(services: Services, user: User, number: str, place: int) -> Response:
    """A file that a job of the user made. Raises `NotFound`, and `ApiError` 404 for a place beyond the last file."""
    with services.database.reading() as session:
        files = files_of(find_own(session, Job, number, user))
    if not 0 <= place < len(files):
        raise not_found("file")
    name = files[place]["name"].rpartition("/")[2]
    return file_response(services.files.read(files[place]["sha256"]), "application/octet-stream", filename=name)


@router.delete("/jobs/{number}")
def delete_job(number: str, request: Request, work: Work, me: Me) -> Record:
    """Delete a job that is over, with its events; what it made stays."""
    with work.database.session() as session:
        row = find_own(session, Job, number, me)
        note(session, request, "job.delete", number, kind=row.kind)
        retention.delete_job(session, row)
        return {"deleted": number}


@router.post("/jobs/{number}/again", status_code=202)
def repeat_job(number: str, work: Work, me: Me) -> Record:
    """Add the same job once more."""
    with work.database.reading() as session:
        row = find_own(session, Job, number, me)
    return show_job(add_job(work, me, row.kind, row.payload), work, me)


@router.post("/jobs/{number}/move")
def move_job(number: str, place: Place, work: Work, me: Me) -> Record:
    """Move a waiting job before another one of the user, or to the end."""
    with work.database.reading() as session:
        find_own(session, Job, number, me)
        if place.before is not None:
            find_own(session, Job, place.before, me)
    move(work.database, number, place.before)
    return show_job(number, work, me)


@router.get("/jobs/{number}/events")
async def stream_job(
    number: str,
    request: Request,
    work: Work,
    me: Me,
    after: Number = 0,
    last_event_id: Annotated[str, Header()] = "",
) -> EventSourceResponse:
    """The job's events as they happen (server-sent events), until it is over, after the one of `Last-Event-ID`."""
    return await stream_events(request, work, me, job_id=number, after=_start(last_event_id, after))


def _start(last_event_id: str, after: int | None) -> int | None:
    """The event after which a stream begins: that of the header, or `after` where the header has no number."""
    return min(int(last_event_id[:20]), 2**53) if last_event_id.isascii() and last_event_id.isdigit() else after


@router.get("/events")
async def stream_all(
    request: Request,
    work: Work,
    me: Me,
    after: Number | None = None,
    last_event_id: Annotated[str, Header()] = "",
) -> EventSourceResponse:
    """Events of all jobs of the user as they happen; without `after` and `Last-Event-ID`, from now on."""
    return await stream_events(request, work, me, after=_start(last_event_id, after))


@router.post("/jobs/{number}/choose")
def choose_pictures(number: str, choice: Choice, request: Request, work: Work, me: Me) -> Record:
    """Answer a paused job that waits for a choice: `progress.choice` has the ids of its pictures and the most to
    keep. It goes on with those."""
    with work.database.reading() as session:
        find_own(session, Job, number, me)
    choose(work.database, number, choice.numbers)
    with work.database.session() as session:
        note(session, request, "job.choose", number)
    return show_job(number, work, me)


@router.post("/jobs/{number}/{what}")
def ask_job(number: str, what: Wish, request: Request, work: Work, me: Me) -> Record:
    """Ask something of a job: pause, stop (end training and keep the concept), cancel, resume, sample, save."""
    with work.database.reading() as session:
        find_own(session, Job, number, me)
    wish(work.database, number, what)
    with work.database.session() as session:
        note(session, request, f"job.{what}", number)
    return show_job(number, work, me)
