"""The sentences of one conversation are answered one after the other, since each reply holds the whole conversation."""

from __future__ import annotations

import functools

from sqlalchemy import ColumnElement, exists, or_, select
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


def is_answering(session: Session, job: Job) -> bool:
    """Whether another sentence of the job's conversation is being answered, locking the conversation until the end of
    the transaction: on PostgreSQL two workers may have chosen two sentences of it at the same moment."""
    if job.kind != KIND:
        return False
    name = str(job.payload.get("conversation", ""))
    session.scalar(select(Conversation.id).where(Conversation.id == name).with_for_update())
    running = select(Job.id).where(Job.kind == KIND, Job.state == "running", Job.id != job.id)
    return session.scalar(running.where(Job.payload["conversation"].as_string() == name).limit(1)) is not None
