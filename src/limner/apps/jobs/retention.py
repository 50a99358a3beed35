"""Deleting subjects, concepts, pictures and jobs, and the rows of old jobs and of the audit. Their files go with the
next sweep, where nothing else names them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import timedelta

from sqlalchemy import ColumnElement, delete, exists, func, or_, select
from sqlalchemy.orm import Session

from limner.errors import InputError

from .database import Database
from .tables import Audit, BoardPicture, Concept, Job, JobEvent, Picture, Reference, Share, Subject, User, now
from .wishes import ENDED


def delete_subject(session: Session, row: Subject) -> None:
    """Delete a subject, its reference images with their captions, and the names of people. Concepts that were learned
    from it stay."""
    row.deleted, row.report, row.person, row.guardian = now(), {}, "", ""
    session.execute(delete(Reference).where(Reference.subject_id == row.id))


def delete_concept(session: Session, row: Concept) -> None:
    """Delete a concept, its shares and the states of its training. Pictures painted with it stay."""
    row.deleted = now()
    session.execute(delete(Share).where(Share.concept_id == row.id))


def delete_picture(session: Session, row: Picture) -> None:
    """Delete a picture, also from all boards."""
    row.deleted = now()
    session.execute(delete(BoardPicture).where(BoardPicture.picture_id == row.id))


def delete_job(session: Session, row: Job) -> None:
    """Delete a job that is over, with its events; what it made stays, but for files that only its result names. Raises
    `InputError` for a job that is not over."""
    if row.state not in ENDED:
        raise InputError(f"the job is {row.state}; cancel it before you delete it")
    session.execute(delete(JobEvent).where(JobEvent.job_id == row.id))
    session.delete(row)


# ------------------------------------------------------------------------------------------- rows that are kept a while


@dataclass(frozen=True, kw_only=True)
class Keep:
    """For how long rows are kept that grow with every request. 0 means without an end.

    A job that is over is kept, whatever its age, while a concept or a picture that it made is there, or a file that its
    page offers. Raises `InputError` for a negative number, and for days of jobs below `LEAST_JOB_DAYS`.
    """

    job_days: int = 180  # since a job was over
    jobs_each: int = 10_000  # jobs of one user; the oldest go first
    audit_days: int = 730
    audit_rows: int = 1_000_000  # rows of all users; the oldest go first

    def __post_init__(self) -> None:
        for each in fields(self):
            if (value := getattr(self, each.name)) < 0:
                raise InputError(f"{each.name} is 0 (without an end) or more, not {value}")
        if 0 < self.job_days < LEAST_JOB_DAYS:
            raise InputError(
                f"job_days is 0 (without an end) or at least {LEAST_JOB_DAYS}, since the quotas count the work of a "
                f"day, not {self.job_days}"
            )


LEAST_JOB_DAYS = 2
"""Days for which every job is kept: quotas count the work of the last 24 hours."""
AT_ONCE = 500
"""Rows deleted in one transaction, so that none holds up the queue."""


def prune(database: Database, keep: Keep) -> dict[str, int]:
    """Delete old jobs with their events, and old rows of the audit. Returns the numbers of deleted jobs and rows of
    the audit, as "jobs" and "audit". Several workers may do this at once."""
    return {"jobs": _prune_jobs(database, keep), "audit": _prune_audit(database, keep)}


def _prune_jobs(database: Database, keep: Keep) -> int:
    deleted = 0
    with database.reading() as session:
        today = database.now(session)
        users = list(session.scalars(select(User.id))) if keep.jobs_each else []
    if keep.job_days:
        deleted += _delete_jobs(database, Job.ended < today - timedelta(days=keep.job_days))
    for user in users:
        with database.reading() as session:
            own = select(Job.ended).where(Job.owner_id == user, Job.ended.is_not(None))
            oldest = session.scalar(own.order_by(Job.ended.desc()).offset(keep.jobs_each - 1).limit(1))
        if oldest is not None:
            before = min(oldest, today - timedelta(days=LEAST_JOB_DAYS))
            deleted += _delete_jobs(database, Job.owner_id == user, Job.ended < before)
    return deleted


def _delete_jobs(database: Database, *conditions: ColumnElement[bool]) -> int:
    """Delete the jobs that are over, that these conditions hold for, and that own nothing a user still sees."""
    deleted, last = 0, ""
    owned = (
        exists().where(Concept.job_id == Job.id, Concept.deleted.is_(None)),
        exists().where(Picture.job_id == Job.id, Picture.deleted.is_(None)),
    )
    over = select(Job.id, Job.result).where(Job.state.in_(ENDED), *conditions, ~or_(*owned))
    wanted = over.order_by(Job.id).limit(AT_ONCE)
    while True:
        with database.session() as session:
            # a job that somebody resumes meanwhile is locked, and is no longer over afterwards
            rows = session.execute(wanted.where(Job.id > last).with_for_update(skip_locked=True)).all()
            old = [row.id for row in rows if not row.result.get("files")]
            session.execute(delete(JobEvent).where(JobEvent.job_id.in_(old)))
            session.execute(delete(Job).where(Job.id.in_(old)))
        deleted += len(old)
        if len(rows) < AT_ONCE:
            return deleted
        last = rows[-1].id


def _prune_audit(database: Database, keep: Keep) -> int:
    with database.reading() as session:
        cutoff = database.now(session) - timedelta(days=keep.audit_days)
        by_age = session.scalar(select(func.max(Audit.id)).where(Audit.time < cutoff)) if keep.audit_days else None
        ids = select(Audit.id).order_by(Audit.id.desc())
        by_number = session.scalar(ids.offset(keep.audit_rows).limit(1)) if keep.audit_rows else None
    newest, deleted = max(by_age or 0, by_number or 0), 0
    while True:
        with database.session() as session:
            old = list(session.scalars(select(Audit.id).where(Audit.id <= newest).order_by(Audit.id).limit(AT_ONCE)))
            session.execute(delete(Audit).where(Audit.id.in_(old)))
        deleted += len(old)
        if len(old) < AT_ONCE:
            return deleted
