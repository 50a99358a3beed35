"""Quotas: how many jobs, seconds of work and bytes a user may have."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from limner.errors import InputError

from .tables import File, Job, User

WAITING = ("queued", "running", "paused")


class QuotaExceeded(InputError):
    """A user's quota is used up."""


def locked_user(session: Session, user_id: str) -> User:
    """The user, locked against concurrent additions. Raises `InputError` for one that is unknown or disabled."""
    user = session.scalar(select(User).where(User.id == user_id).with_for_update(key_share=True))
    if user is None or user.disabled:
        raise InputError(f"the user {user_id[:40]!r} {'is disabled' if user else 'does not exist'}")
    return user


def check_quota(session: Session, user: User, now: datetime) -> None:
    """Raise `QuotaExceeded` where the user has as many jobs, or has used as many seconds, as the quota permits."""
    if user.most_jobs:
        mine = select(func.count()).select_from(Job).where(Job.owner_id == user.id, Job.state.in_(WAITING))
        number = session.scalar(mine) or 0
        if number >= user.most_jobs:
            raise QuotaExceeded(
                f"{user.name} has {number} jobs that wait, run or are paused, and may have {user.most_jobs}; "
                "wait until one is done, or cancel one"
            )
    check_seconds(session, user, now)


def check_seconds(session: Session, user: User, now: datetime) -> None:
    """Raise `QuotaExceeded` where the user's seconds of work are used up."""
    if is_spent(session, user, now):
        spent = seconds_of_day(session, user.id, now)
        raise QuotaExceeded(
            f"{user.name} has used {spent:,.0f} seconds of work within 24 hours, and may use {user.most_seconds:,}; "
            "try again later"
        )


def is_spent(session: Session, user: User, now: datetime) -> bool:
    """Whether the user's seconds of work within 24 hours are used up."""
    return bool(user.most_seconds) and seconds_of_day(session, user.id, now) >= user.most_seconds


def seconds_of_day(session: Session, user_id: str, now: datetime) -> float:
    """Seconds of work of a user's jobs that ran within the last 24 hours."""
    recent = or_(Job.ended.is_(None), Job.ended > now - timedelta(hours=24))
    jobs = session.execute(
        select(Job.seconds, Job.claimed).where(Job.owner_id == user_id, Job.started.is_not(None), recent)
    )
    return sum(seconds + ((now - claimed).total_seconds() if claimed else 0.0) for seconds, claimed in jobs)


def check_bytes(session: Session, user: User, more: int) -> None:
    """Raise `QuotaExceeded` where `more` bytes are too many for the user's quota."""
    if not user.most_bytes:
        return
    used = bytes_of(session, user.id)
    if used + more > user.most_bytes:
        raise QuotaExceeded(
            f"{user.name} keeps {used:,} bytes and may keep {user.most_bytes:,}; {more:,} more do not fit: delete "
            "pictures or concepts"
        )


def bytes_of(session: Session, user_id: str) -> int:
    """Bytes of the files that a user stored first."""
    return int(session.scalar(select(func.coalesce(func.sum(File.num_bytes), 0)).where(File.owner_id == user_id)) or 0)
