"""Access: who may see, use and change what. Pages, the API and workers ask here and nowhere else.

* An owner sees, uses and changes what is their own.
* A share lets another user see a concept and paint with it, and nothing else.
* An admin sees and changes every job, to keep the queue in order, but not what others teach, learn or paint.

A thing that a user may not see does not exist for that user: `find` raises the same error for both.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar

from sqlalchemy import Select, exists, or_, select
from sqlalchemy.orm import Session

from limner.errors import InputError

from .audit import audit
from .tables import Concept, Conversation, Job, Picture, Reference, Share, Subject, Upload, User

Owned = Concept | Subject | Picture | Job | Conversation
T = TypeVar("T", Concept, Subject, Picture, Job, Conversation)
ID = re.compile(r"[0-9a-f]{32}")


class NotFound(InputError):
    """A thing does not exist, or not for this user."""


def visible(table: type[T], user: User) -> Select[T]:
    """A query of the rows that a user may see, without deleted ones, to be filtered and ordered further."""
    query: Any = select(table)
    if hasattr(table, "deleted"):
        query = query.where(table.deleted.is_(None))
    if table is Job and user.role == "admin":
        return query
    mine = table.owner_id == user.id
    if table is Concept:
        shared = exists().where(Share.concept_id == Concept.id, Share.user_id == user.id)
        return query.where(or_(mine, shared))
    return query.where(mine)


def find(session: Session, user: User, table: type[T], id: str) -> T:
    """A row by its id. Raises `NotFound` where there is none that this user may see."""
    # texts of another form never reach the database: PostgreSQL refuses some of them with an error of its own
    row = session.scalar(visible(table, user).where(table.id == id)) if ID.fullmatch(id) else None
    if row is None:
        raise NotFound(f"there is no {table.__name__.lower()} {id[:40]!r}")
    return row


def may_change(user: User, thing: Owned) -> bool:
    """Whether a user may rename, share, export or delete a thing."""
    return thing.owner_id == user.id or (isinstance(thing, Job) and user.role == "admin")


def demand_change(user: User, thing: Owned) -> None:
    """Raise `NotFound` where a user may not change a thing."""
    if not may_change(user, thing):
        raise NotFound(f"{thing.__class__.__name__.lower()} {thing.id} belongs to another user, who alone changes it")


def may_read_file(session: Session, user: User, sha256: str) -> bool:
    """Whether a user may read stored content: they stored it, or something of theirs names it."""
    named = (
        select(Upload.sha256).where(Upload.sha256 == sha256, Upload.user_id == user.id),
        select(Picture.id).where(Picture.sha256 == sha256, Picture.owner_id == user.id),
        select(Concept.id).where(Concept.sha256 == sha256, Concept.owner_id == user.id),
        select(Reference.id)
        .join(Subject, Subject.id == Reference.subject_id)
        .where(or_(Reference.sha256 == sha256, Reference.mask == sha256), Subject.owner_id == user.id),
    )
    return any(session.scalar(query.limit(1)) is not None for query in named)


# --------------------------------------------------------------------------------------------------------------- shares


def share(session: Session, user: User, concept_id: str, name: str, *, address: str = "") -> None:
    """Let another user, by name, see a concept and paint with it; a second share changes nothing. Raises `NotFound` for
    a concept that the user may not change and for an unknown user, and `InputError` for the owner."""
    concept = find(session, user, Concept, concept_id)
    demand_change(user, concept)
    other = session.scalar(select(User).where(User.name == name))
    if other is None:
        raise NotFound(f"there is no user {name[:64]!r}")
    if other.id == concept.owner_id:
        raise InputError("the concept is yours already")
    same = select(Share).where(Share.concept_id == concept_id, Share.user_id == other.id)
    if session.scalar(same) is not None:
        return
    session.add(Share(concept_id=concept_id, user_id=other.id))
    audit(session, user.id, "concept.share", concept_id, address=address, user=other.id)


def unshare(session: Session, user: User, concept_id: str, name: str, *, address: str = "") -> None:
    """Take a share back; a job of that user, by name, that has not started will fail. Raises `NotFound`, also where
    there is no such share."""
    demand_change(user, find(session, user, Concept, concept_id))
    shares = select(Share).join(User, User.id == Share.user_id)
    row = session.scalar(shares.where(Share.concept_id == concept_id, User.name == name))
    if row is None:
        raise NotFound(f"the concept is not shared with {name[:64]!r}")
    session.delete(row)
    audit(session, user.id, "concept.unshare", concept_id, address=address, user=row.user_id)
