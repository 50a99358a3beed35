"""Old jobs and old rows of the audit are deleted; nothing is that a user still sees."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from limner.apps.jobs import retention
from limner.apps.jobs.audit import audit
from limner.apps.jobs.database import Database
from limner.apps.jobs.files import Files
from limner.apps.jobs.retention import Keep, prune
from limner.apps.jobs.tables import Audit, Concept, Job, JobEvent, Picture, User, now
from limner.apps.jobs.worker import Worker
from limner.errors import InputError

EVER = Keep(job_days=0, jobs_each=0, audit_days=0, audit_rows=0)


def add_job(database: Database, user: User, *, days: float, **about: Any) -> str:
    """Add a job that was over so many days ago, with an event; its id."""
    with database.session() as session:
        ended = now() - timedelta(days=days)
        job = Job(**{"owner_id": user.id, "kind": "paint", "state": "done", "ended": ended, **about})
        session.add(job)
        session.flush()
        session.add(JobEvent(job_id=job.id, record={"event": "message", "text": "x"}))
        return job.id


def jobs(database: Database) -> set[str]:
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(JobEvent)) == len(session.scalars(select(Job.id)).all())
        return set(session.scalars(select(Job.id)))


def test_old_jobs_go_with_their_events(database: Database, user: User) -> None:
    old, young = add_job(database, user, days=11), add_job(database, user, days=9)
    failed = add_job(database, user, days=11, state="failed")
    open_jobs = {add_job(database, user, days=99, state=s, ended=None) for s in ("queued", "running", "paused")}
    assert prune(database, Keep(job_days=10)) == {"jobs": 2, "audit": 0}
    assert jobs(database) == {young, *open_jobs}
    assert not {old, failed} & jobs(database)


def test_a_job_stays_while_what_it_made_is_there(database: Database, user: User) -> None:
    taught, painted, exported = (add_job(database, user, days=99) for _ in range(3))
    with database.session() as session:
        session.add(Concept(owner_id=user.id, name="rex", handle="<rex>", sha256="0" * 64, job_id=taught))
        session.add(Picture(owner_id=user.id, sha256="1" * 64, job_id=painted))
        session.get_one(Job, exported).result = {"files": [{"name": "rex.safetensors", "sha256": "2" * 64, "bytes": 3}]}
    assert prune(database, Keep(job_days=10))["jobs"] == 0
    with database.session() as session:
        retention.delete_concept(session, session.scalars(select(Concept)).one())
        retention.delete_picture(session, session.scalars(select(Picture)).one())
    assert prune(database, Keep(job_days=10))["jobs"] == 2
    assert jobs(database) == {exported}


def test_the_oldest_jobs_of_a_user_go_beyond_a_number(database: Database, user: User, users: Any) -> None:
    every = [add_job(database, user, days=3 + k) for k in range(5)]
    other = add_job(database, users("bob"), days=40)
    assert prune(database, Keep(job_days=0, jobs_each=2))["jobs"] == 3
    assert jobs(database) == {*every[:2], other}


def test_the_work_of_the_last_day_stays_for_the_quotas(database: Database, user: User) -> None:
    today = {add_job(database, user, days=k / 10) for k in range(5)}
    assert prune(database, Keep(job_days=2, jobs_each=1))["jobs"] == 0
    assert jobs(database) == today
    with pytest.raises(InputError, match="at least 2"):
        Keep(job_days=1)
    with pytest.raises(InputError, match="audit_rows is 0"):
        Keep(audit_rows=-1)


def test_the_audit_is_kept_by_age_and_by_number(
    database: Database, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "AT_ONCE", 3)
    with database.session() as session:
        for days in range(20, 0, -1):
            session.add(Audit(user_id=user.id, action="job.delete", time=now() - timedelta(days=days)))
            session.flush()

    def count() -> int | None:
        with database.reading() as session:
            return session.scalar(select(func.count()).select_from(Audit).where(Audit.action == "job.delete"))

    assert prune(database, EVER) == {"jobs": 0, "audit": 0}
    assert count() == 20
    prune(database, Keep(audit_days=15))
    assert count() == 14  # the one of 15 days ago is a moment older than that
    with database.session() as session:
        audit(session, user.id, "token.create")
    prune(database, Keep(audit_days=0, audit_rows=5))
    assert count() == 4


def test_more_jobs_than_one_transaction_takes_are_deleted(
    database: Database, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "AT_ONCE", 3)
    for _ in range(10):
        add_job(database, user, days=99)
    assert prune(database, Keep())["jobs"] == 0  # 180 days
    assert prune(database, Keep(job_days=30))["jobs"] == 10
    assert not jobs(database)


def test_a_worker_prunes_at_its_start(database: Database, user: User, files: Files) -> None:
    old = add_job(database, user, days=99)
    Worker(database, files, keep=Keep(job_days=98))._tidy_sometimes()
    assert old not in jobs(database)
