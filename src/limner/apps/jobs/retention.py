"""Deleting subjects, concepts, pictures and jobs, and with them the files that nothing else names."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from limner.errors import InputError

from .access import T, demand_change, find
from .audit import audit
from .database import Database
from .files import Files
from .tables import BoardPicture, Concept, File, Job, JobEvent, Picture, Reference, Share, Subject, User, now
from .uploads import names_in_use
from .wishes import ENDED


def delete_subject(database: Database, files: Files, user: User, id: str) -> list[str]:
    """Delete a subject and its reference images. Concepts that were learned from it stay. Returns the SHA-256s of the
    files that are gone. Raises `NotFound`."""
    with database.session() as session:
        row = _own(session, user, Subject, id)
        names = {name for picture in row.pictures for name in (picture.sha256, picture.mask) if name}
        names |= _hashes_of_report(row)
        row.deleted, row.report = now(), {}
        session.execute(delete(Reference).where(Reference.subject_id == id))
        audit(session, user.id, "subject.delete", id, name=row.name)
    return remove_unnamed(database, files, names)


def delete_concept(database: Database, files: Files, user: User, id: str) -> list[str]:
    """Delete a concept, its shares and the states of its training. Pictures painted with it stay. Raises `NotFound`."""
    with database.session() as session:
        row = _own(session, user, Concept, id)
        names = {row.sha256, *(str(state.get("sha256", "")) for state in row.states)} - {""}
        row.deleted = now()
        session.execute(delete(Share).where(Share.concept_id == id))
        audit(session, user.id, "concept.delete", id, name=row.name)
    return remove_unnamed(database, files, names)


def delete_picture(database: Database, files: Files, user: User, id: str) -> list[str]:
    """Delete a picture, also from all boards. Raises `NotFound`."""
    with database.session() as session:
        row = _own(session, user, Picture, id)
        row.deleted = now()
        session.execute(delete(BoardPicture).where(BoardPicture.picture_id == id))
        audit(session, user.id, "picture.delete", id)
        names = {row.sha256}
    return remove_unnamed(database, files, names)


def delete_job(database: Database, files: Files, user: User, id: str) -> list[str]:
    """Delete a job that is over, with its events; what it made stays, but for files that only its result names. Raises
    `InputError` for a job that is not over, and `NotFound`."""
    with database.session() as session:
        row = _own(session, user, Job, id)
        if row.state not in ENDED:
            raise InputError(f"the job is {row.state}; cancel it before you delete it")
        files_of_result = row.result.get("files", [])
        names = {str(each["sha256"]) for each in files_of_result if isinstance(each, dict) and each.get("sha256")}
        names |= set(row.checkpoint.get("files", {}).values())
        session.execute(delete(JobEvent).where(JobEvent.job_id == id))
        session.delete(row)
        audit(session, user.id, "job.delete", id, kind=row.kind)
    return remove_unnamed(database, files, names)


def remove_unnamed(database: Database, files: Files, names: Iterable[str]) -> list[str]:
    """Delete those of these files that no row names any more, and return them."""
    with database.session() as session:
        gone = sorted(set(names) - names_in_use(session))
        session.execute(delete(File).where(File.sha256.in_(gone)))
    for sha256 in gone:
        with database.reading() as session:
            is_back = session.scalar(select(File.sha256).where(File.sha256 == sha256)) is not None
        if not is_back:
            files.delete(sha256)
    return gone


def _own(session: Session, user: User, table: type[T], id: str) -> T:
    row = find(session, user, table, id)
    demand_change(user, row)
    return row


def _hashes_of_report(subject: Subject) -> set[str]:
    rows = [row for row in subject.report.get("pictures", []) if isinstance(row, dict)]
    return {str(row[name]) for row in rows for name in ("picture", "mask") if row.get(name)}
