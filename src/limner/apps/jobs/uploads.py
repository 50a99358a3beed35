"""Content that users store: counted against their quota, and deleted once nothing names it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from .database import Database
from .files import HASH, Files
from .quotas import check_bytes, locked_user
from .tables import Answer, Concept, File, Job, Picture, Reference, Subject, Turn, Upload, now

GRACE = timedelta(hours=24)
"""Age from which a file that nothing names is deleted; younger ones may be named in a moment."""


def store(database: Database, files: Files, data: bytes, *, owner: str, media_type: str) -> str:
    """Store content of a user and return its SHA-256. Raises `QuotaExceeded` before anything is written."""
    sha256 = hashlib.sha256(data).hexdigest()
    with database.session() as session:
        add_file(session, sha256, len(data), owner=owner, media_type=media_type, counted=True)
    # the row comes first: the sweep deletes no file that has a young row
    return files.put(data)


def add_file(session: Session, sha256: str, num_bytes: int, *, owner: str, media_type: str, counted: bool) -> None:
    """Add the row of a file, or make it young again. With `counted`, raises `QuotaExceeded` where it does not fit."""
    user = locked_user(session, owner) if counted else None
    if user is not None and session.get(File, sha256) is None:
        check_bytes(session, user, num_bytes)
    row = {"sha256": sha256, "num_bytes": num_bytes, "media_type": media_type, "owner_id": owner, "created": now()}
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    young = insert(File).values(row).on_conflict_do_update(index_elements=[File.sha256], set_={"created": now()})
    session.execute(young)
    # another user may have stored the same content first
    session.execute(insert(Upload).values(sha256=sha256, user_id=owner).on_conflict_do_nothing())


def sweep(database: Database, files: Files, *, grace: timedelta = GRACE) -> list[str]:
    """Delete the files that no row names and that are older than `grace`, and return their SHA-256s."""
    end = now() - grace
    with database.reading() as session:  # which may take a while, and holds no lock
        named = names_in_use(session)
        old = [
            sha256 for sha256 in session.scalars(select(File.sha256).where(File.created < end)) if sha256 not in named
        ]
    deleted = []
    for sha256 in old:
        with database.session() as session:
            # content that was stored again in the meantime is young
            row = session.scalar(select(File).where(File.sha256 == sha256, File.created < end).with_for_update())
            if row is None:
                continue
            session.delete(row)
        files.delete(sha256)
        deleted.append(sha256)
    return deleted


def names_in_use(session: Session) -> set[str]:
    """The SHA-256 of every file that a row names: references, concepts, pictures and turns that are not deleted,
    payloads, results and checkpoints of jobs, and answers that may be given again."""
    queries = (
        select(Subject.report).where(Subject.deleted.is_(None)),
        select(Reference.sha256, Reference.mask).join(Subject).where(Subject.deleted.is_(None)),
        select(Concept.sha256, Concept.states).where(Concept.deleted.is_(None)),
        select(Picture.sha256, Picture.settings).where(Picture.deleted.is_(None)),
        select(Turn.state),
        select(Job.payload, Job.progress, Job.result, Job.checkpoint),
        select(Answer.body),
    )
    return {sha256 for query in queries for row in session.execute(query) for sha256 in _hashes(tuple(row))}


def _hashes(value: object) -> Iterable[str]:
    """Every text within a value that has the form of a SHA-256, however deep it lies."""
    values = [value]
    while values:
        value = values.pop()
        if isinstance(value, str) and HASH.fullmatch(value):
            yield value
        elif isinstance(value, dict):
            values += value.values()
        elif isinstance(value, (list, tuple)):
            values += value
