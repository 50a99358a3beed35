"""The order of waiting jobs: fair between users, and changed by people."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from limner.errors import InputError

from .database import Database
from .tables import Job


def fair_position(session: Session, owner: str) -> float:
    """A place behind the owner's other jobs, else beside the job that is next, or that runs."""
    least = session.scalar(select(func.min(Job.position)).where(Job.state == "queued"))
    running = session.scalar(select(func.max(Job.position)).where(Job.state == "running"))
    mine = session.scalar(
        select(func.max(Job.position)).where(Job.owner_id == owner, Job.state.in_(("queued", "running")))
    )
    turn = least if least is not None else running or 0.0
    return max(turn, mine + 1.0) if mine is not None else turn


def move(database: Database, job_id: str, before: str | None, *, everyone: bool = False) -> None:
    """Move a waiting job before another one; None moves it to the end.

    The jobs share out the places that they have: without `everyone`, only the owner's jobs change places, and nobody
    else waits longer. Raises `InputError` for a job that does not wait, and without `everyone` for two owners' jobs.
    """
    with database.session() as session:
        job = session.scalar(select(Job).where(Job.id == job_id, Job.state == "queued"))
        if job is None:
            raise InputError(f"the job {job_id[:40]!r} does not wait in the queue")
        waiting = select(Job).where(Job.state == "queued").order_by(Job.position, Job.created, Job.id).with_for_update()
        if not everyone:
            waiting = waiting.where(Job.owner_id == job.owner_id)
        jobs = list(session.scalars(waiting))
        places = [each.position for each in jobs]
        order = [each for each in jobs if each.id != job_id]
        index = len(order) if before is None else next((k for k, one in enumerate(order) if one.id == before), -1)
        if index < 0:
            raise InputError(f"the job {str(before)[:40]!r} does not wait in the queue, or is another user's")
        order.insert(index, job)
        last = float("-inf")
        for each, place in zip(order, places, strict=True):
            # two jobs at one place would be taken in the order of their creation
            last = each.position = max(place, last + 1e-6)
