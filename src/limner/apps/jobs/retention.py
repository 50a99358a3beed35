"""Deleting subjects, concepts, pictures and jobs. Their files go with the next sweep, where nothing else names them."""

from __future__ import annotations

from sqlalchemy import delete
from sqlalchemy.orm import Session

from limner.errors import InputError

from .tables import BoardPicture, Concept, Job, JobEvent, Picture, Reference, Share, Subject, now
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
