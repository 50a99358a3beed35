"""The sentences of one conversation are answered one after the other, since each reply holds the whole conversation."""

from __future__ import annotations

import functools

from sqlalchemy import ColumnElement, and_, exists, literal, or_, select, tuple_
from sqlalchemy.orm import Session, aliased

from .tables import Conversation, Job

KIND = "converse"


@functools.cache
def without_busy_conversations() -> ColumnElement[bool]:
    """The condition for jobs whose conversation is not being answered. It is made once: an alias of a table has
    hundreds of objects in cycles of references, and workers look for jobs several times a second."""
    other = aliased(Job)
    same = other.payload["conversation"].as_string() == Job.payload["conversation"].as_string()
    return or_(Job.kind != KIND, ~exists().where(other.kind == KIND, other.state == "running", same))


def must_wait(session: Session, job: Job) -> bool:
    """Whether another sentence of the job's conversation is being answered, or comes first. On PostgreSQL several
    workers may choose sentences of it at the same moment, so it is locked until the end of the transaction."""
    if job.kind != KIND:
        return False
    name = str(job.payload.get("conversation", ""))
    session.scalar(select(Conversation.id).where(Conversation.id == name).with_for_update())
    is_earlier = tuple_(Job.position, Job.created, Job.id) < tuple_(*map(literal, (job.position, job.created, job.id)))
    before = or_(Job.state == "running", and_(Job.state == "queued", is_earlier))
    others = select(Job.id).where(Job.kind == KIND, Job.id != job.id, before)
    return session.scalar(others.where(Job.payload["conversation"].as_string() == name).limit(1)) is not None
