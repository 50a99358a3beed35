"""The rows that a page shows. Every function takes the user: nobody sees another's things without a share."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import String, cast, func, or_, select
from sqlalchemy.orm import Session

from limner.apps.api.errors import not_found
from limner.apps.jobs.access import ID, visible
from limner.apps.jobs.job_run import PAUSES
from limner.apps.jobs.tables import (
    Board,
    BoardPicture,
    Concept,
    Job,
    JobEvent,
    Picture,
    Share,
    Subject,
    Token,
    User,
)
from limner.errors import InputError

from . import words

OPEN = ("queued", "running", "paused")


@dataclass(frozen=True)
class ConceptView:
    """A concept on a card, in a list, or among the choices of a form."""

    id: str
    name: str
    handle: str
    noun: str
    kind: str
    method: str
    scores: dict[str, Any]
    created: datetime
    cover: str = ""  # id of a picture
    shared: str = ""  # name of the user whose it is, where it is another's
    from_talk: bool = False  # whether a preference in a conversation made it


def concepts_of(session: Session, user: User, *, search: str = "", limit: int = 200) -> list[ConceptView]:
    """The user's concepts and those shared with the user, the newest first."""
    wanted = visible(Concept, user)
    if search:
        like = f"%{escaped(search)}%"
        fields = (Concept.name, Concept.noun, Concept.method, Concept.kind)
        wanted = wanted.where(or_(*(each.ilike(like, escape="\\") for each in fields)))
    rows = list(session.scalars(wanted.order_by(Concept.created.desc()).limit(limit)))
    owners = {each.owner_id for each in rows} - {user.id}
    names = dict(session.execute(select(User.id, User.name).where(User.id.in_(owners))).all()) if owners else {}
    covers, jobs = covers_of(session, rows), {each.job_id for each in rows}
    talks = set(session.scalars(select(Job.id).where(Job.id.in_(jobs), Job.kind == "converse")))
    return [
        concept_view(each, covers.get(each.id, ""), names.get(each.owner_id, ""), from_talk=each.job_id in talks)
        for each in rows
    ]


def concept_view(concept: Concept, cover: str = "", shared: str = "", *, from_talk: bool = False) -> ConceptView:
    names = ("id", "name", "handle", "noun", "kind", "method", "scores", "created")
    about: dict[str, Any] = {name: getattr(concept, name) for name in names}
    return ConceptView(**about, cover=cover, shared=shared, from_talk=from_talk)


def labels_of(concepts: Sequence[ConceptView]) -> dict[str, str]:
    """Concept id -> a label that no other of these has: handle, method and owner, and the time where they repeat."""
    labels = {
        c.id: ", ".join(part for part in (c.handle, c.method or c.kind, c.shared and f"by {c.shared}") if part)
        for c in concepts
    }
    counts = Counter(labels.values())
    return {
        c.id: labels[c.id] if counts[labels[c.id]] == 1 else f"{labels[c.id]}, {c.created:%d %b %Y %H:%M:%S}"
        for c in concepts
    }


def named_concepts(text: str, concepts: Sequence[ConceptView], *, ticked: Collection[str] = ()) -> list[ConceptView]:
    """The ticked concepts, and the newest one of each further handle in a text, where there is another one than those
    that preferences in a conversation made, which may be undone there. Raises `InputError` where two of the ticked ones
    have one handle."""
    chosen: dict[str, ConceptView] = {}
    for each in concepts:
        if each.id in ticked:
            if each.handle in chosen:
                raise InputError(f"two of the ticked likenesses answer to {each.handle}; tick one of them")
            chosen[each.handle] = each
    for each in sorted(concepts, key=lambda each: each.from_talk):
        if each.handle in text:
            chosen.setdefault(each.handle, each)
    return list(chosen.values())


def handles_of(concepts: Sequence[ConceptView]) -> str:
    """The JSON by which a text field completes handles (`static/combo.js`)."""
    return json.dumps([{"id": c.id, "handle": c.handle, "noun": c.noun} for c in concepts], ensure_ascii=False)


def covers_of(session: Session, concepts: Sequence[Concept]) -> dict[str, str]:
    """Concept id -> id of a picture painted with it by the job that learned it, else of the newest that names it."""
    covers: dict[str, str] = {}
    jobs = {each.job_id: each for each in concepts if each.job_id}
    known = select(Picture).where(Picture.job_id.in_(jobs), Picture.deleted.is_(None)).order_by(Picture.created)
    for picture in session.scalars(known) if jobs else ():
        covers[jobs[str(picture.job_id)].id] = picture.id
    rest = [each for each in concepts if each.id not in covers]
    for concept in rest[:60]:
        names = cast(Picture.concepts, String).contains(concept.id)
        picture_id = session.scalar(
            select(Picture.id)
            .where(Picture.owner_id == concept.owner_id, Picture.deleted.is_(None), names)
            .order_by(Picture.created.desc())
            .limit(1)
        )
        if picture_id:
            covers[concept.id] = picture_id
    return covers


def visible_picture(session: Session, picture_id: str, user: User) -> Picture:
    """A picture of the user's own, or one of the job that learned a concept which is shared with the user."""
    picture = session.get(Picture, picture_id) if ID.fullmatch(picture_id) else None
    if picture is not None and picture.deleted is None:
        if picture.owner_id == user.id:
            return picture
        shared = select(Concept.id).join(Share, Share.concept_id == Concept.id)
        shared = shared.where(Share.user_id == user.id, Concept.deleted.is_(None))
        if picture.job_id and session.scalar(shared.where(Concept.job_id == picture.job_id)):
            return picture
    raise not_found("picture")


def pictures_of(
    session: Session,
    user: User,
    *,
    search: str = "",
    board: str = "",
    favourites: bool = False,
    purposes: Sequence[str] = ("gallery",),
    concept: str = "",
    limit: int = 60,
    offset: int = 0,
) -> list[Picture]:
    """The user's pictures, the newest first."""
    wanted = select(Picture).where(Picture.owner_id == user.id, Picture.deleted.is_(None))
    if purposes:
        wanted = wanted.where(Picture.purpose.in_(purposes))
    if search:
        wanted = wanted.where(Picture.prompt.ilike(f"%{escaped(search)}%", escape="\\"))
    if favourites:
        wanted = wanted.where(Picture.favourite.is_(True))
    if concept:
        wanted = wanted.where(cast(Picture.concepts, String).contains(concept))
    if board:
        wanted = wanted.join(BoardPicture, BoardPicture.picture_id == Picture.id).where(BoardPicture.board_id == board)
    return list(session.scalars(wanted.order_by(Picture.created.desc(), Picture.id).limit(limit).offset(offset)))


def pictures_of_job(session: Session, job: Job) -> list[Picture]:
    wanted = select(Picture).where(Picture.job_id == job.id, Picture.deleted.is_(None))
    return list(session.scalars(wanted.order_by(Picture.created, Picture.id)))


@dataclass(frozen=True)
class JobView:
    """A job as a line of a list and as the head of its page."""

    id: str
    kind: str
    state: str
    words: str  # its state in words
    title: str
    url: str
    percent: float | None
    eta: float | None
    failure: str
    created: datetime
    seconds: float

    @property
    def is_open(self) -> bool:
        return self.state in OPEN


def job_view(job: Job, names: dict[str, str] | None = None) -> JobView:
    progress = job.progress or {}
    done, total = progress.get("done"), progress.get("total")
    percent = round(100 * done / total, 1) if done is not None and total else None
    return JobView(
        job.id,
        job.kind,
        job.state,
        words.STATES.get(job.state, job.state),
        words.job_title(job.kind, {**job.payload, **({"name": title} if (title := _about(job, names)) else {})}),
        f"/jobs/{job.id}",
        percent,
        progress.get("eta") if job.state == "running" else None,
        job.failure,
        job.created,
        job.seconds,
    )


def try_again(kind: str) -> str:
    """The button of a failed job: trainings and paintings go on, any other work begins anew."""
    return "Try again from where it stopped" if kind in PAUSES else "Try again"


def _about(job: Job, names: dict[str, str] | None) -> str:
    """The name of the subject or the concept that a job is about."""
    subjects = [job.payload["subject"]] if job.payload.get("subject") else job.payload.get("subjects", [])
    concepts = [job.payload["concept"]] if job.payload.get("concept") else []
    ids = [each if isinstance(each, str) else each.get("id", "") for each in [*subjects, *concepts]]
    return ", ".join(name for each in ids if (name := (names or {}).get(each, "")))


def names_of(session: Session, jobs: Iterable[Job]) -> dict[str, str]:
    """Ids of subjects and concepts in the payloads of jobs -> their names."""
    ids: set[str] = set()
    for job in jobs:
        lists = (*(job.payload.get("subjects") or ()), *(job.payload.get("concepts") or ()))
        for value in (job.payload.get("subject"), job.payload.get("concept"), *lists):
            ids.add(value.get("id", "") if isinstance(value, dict) else str(value or ""))
    ids.discard("")
    if not ids:
        return {}
    names: dict[str, str] = {}
    for table in (Subject, Concept):
        rows = session.execute(select(table.id, table.name).where(table.id.in_(ids)))
        names |= {row.id: row.name for row in rows}
    return names


def jobs_of(
    session: Session,
    user: User,
    *,
    states: Sequence[str] = (),
    kinds: Sequence[str] = (),
    limit: int = 50,
    by_place: bool = False,
) -> list[JobView]:
    """The user's jobs, the newest first; `by_place`: in the order in which they run."""
    wanted = select(Job).where(Job.owner_id == user.id)
    if states:
        wanted = wanted.where(Job.state.in_(states))
    if kinds:
        wanted = wanted.where(Job.kind.in_(kinds))
    order = (Job.state.desc(), Job.position, Job.created) if by_place else (Job.created.desc(),)
    rows = list(session.scalars(wanted.order_by(*order).limit(limit)))
    names = names_of(session, rows)
    return [job_view(each, names) for each in rows]


def events_of(session: Session, job_id: str, *, limit: int = 20_000) -> list[dict[str, Any]]:
    wanted = select(JobEvent.record).where(JobEvent.job_id == job_id)
    return list(session.scalars(wanted.order_by(JobEvent.id).limit(limit)))


def boards_of(session: Session, user: User) -> list[tuple[Board, int]]:
    """The user's boards with their numbers of pictures."""
    count = func.count(BoardPicture.picture_id)
    wanted = select(Board, count).outerjoin(BoardPicture, BoardPicture.board_id == Board.id)
    wanted = wanted.where(Board.owner_id == user.id).group_by(Board.id).order_by(Board.name)
    return [(board, number) for board, number in session.execute(wanted)]


def tokens_of(session: Session, user_id: str) -> list[Token]:
    wanted = select(Token).where(Token.user_id == user_id, Token.revoked.is_(None))
    return list(session.scalars(wanted.order_by(Token.created.desc())))


def escaped(search: str) -> str:
    """A search text whose wildcards stand for themselves."""
    return search[:200].replace("\0", "").replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
