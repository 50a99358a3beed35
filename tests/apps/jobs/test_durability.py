"""Work that is lost, and workers that end, by faults of one job: none."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, select, text
from sqlalchemy.exc import OperationalError

from limner.apps.jobs import queue
from limner.apps.jobs.access import may_read_file
from limner.apps.jobs.database import Database, open_database, upgrade
from limner.apps.jobs.files import Files
from limner.apps.jobs.heartbeat import Heartbeat
from limner.apps.jobs.job_run import JobRun
from limner.apps.jobs.queue import claim, submit
from limner.apps.jobs.results import Results
from limner.apps.jobs.tables import File, Job, JobEvent, User, now
from limner.apps.jobs.uploads import _hashes, store, sweep
from limner.apps.jobs.worker import Worker
from limner.errors import FileError, InputError
from limner.workflows.controls import Controls

from . import workflows

SHA256 = "ab" * 32


def a_worker(database: Database, files: Files, folder: Path, run: Callable[..., Any] = workflows.mixed) -> Worker:
    return Worker(database, files, name="w", data=folder, lease=5.0, run_workflow=run)


def paint(database: Database, user: User) -> str:
    return submit(database, owner=user.id, kind="paint", payload={"prompts": ["a ball"], "count": 1})


def job(database: Database, id: str) -> Job:
    with database.reading() as session:
        return session.get_one(Job, id)


@pytest.mark.parametrize("error", [InputError("the conversation was deleted"), KeyError("subject")], ids=["own", "any"])
def test_a_result_that_cannot_be_stored_is_the_jobs_failure_and_not_the_workers(
    database: Database, files: Files, user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr("limner.apps.jobs.results.Results.end", fail)
    id = paint(database, user)
    assert a_worker(database, files, tmp_path / "w").step()
    over = job(database, id)
    assert over.state == "failed"
    assert str(error.args[0]) in over.failure
    with database.reading() as session:
        ends = [row.record["event"] for row in session.scalars(select(JobEvent).where(JobEvent.job_id == id))]
    assert [name for name in ends if name in ("job_done", "job_failed")] == ["job_failed"]


def test_events_that_cannot_be_stored_are_the_jobs_failure_and_not_the_workers(
    database: Database, files: Files, user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise KeyError("a number that is none")

    monkeypatch.setattr("limner.apps.jobs.job_run.record", fail)
    id = paint(database, user)
    assert a_worker(database, files, tmp_path / "w").step()
    assert job(database, id).state == "failed"
    assert "a number that is none" in job(database, id).failure


def test_a_picture_is_stored_while_the_database_is_away_for_a_moment(
    database: Database, files: Files, user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, calls = Results.store, list[str]()

    def store(self: Results, path: Path) -> str:
        def away() -> Any:
            calls.append("away")
            raise OperationalError("INSERT", {}, Exception("the server restarts"))

        with monkeypatch.context() as patch:
            patch.setattr(database, "session", away)
            return before(self, path)

    monkeypatch.setattr(Results, "store", store)
    id = paint(database, user)
    a_worker(database, files, tmp_path / "w").step()
    assert calls
    assert job(database, id).state == "done"
    with database.reading() as session:
        assert list(session.scalars(select(File.sha256))) == list(files.all())


def test_a_failure_names_no_path_of_the_workers_machine(
    database: Database, files: Files, user: User, tmp_path: Path
) -> None:
    def fail(request: Any, **_: Any) -> Any:
        raise FileError(f"{request.out} cannot be read")
        yield

    id = paint(database, user)
    a_worker(database, files, tmp_path / "w", fail).step()
    assert job(database, id).state == "failed"
    assert str(tmp_path) not in job(database, id).failure


def test_what_cannot_be_tidied_does_not_end_the_worker(
    database: Database, files: Files, user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RecursionError("a table within a table")

    monkeypatch.setattr("limner.apps.jobs.worker.sweep", fail)
    worker, until = a_worker(database, files, tmp_path / "w"), threading.Event()
    monkeypatch.setattr(worker, "step", lambda: bool(until.set()))
    worker.run(until)
    assert until.is_set()


def test_names_of_files_are_found_however_deep_they_lie() -> None:
    deep: Any = SHA256
    for _ in range(3000):
        deep = [deep]
    assert list(_hashes({"x": deep})) == [SHA256]


def test_the_sweep_leaves_content_that_a_worker_is_about_to_name(
    database: Database, files: Files, user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same picture, stored and named by nothing since long ago, is painted again; the sweep comes in between."""
    store(database, files, workflows.PIXEL, owner=user.id, media_type="image/png")
    with database.session() as session:
        session.scalars(select(File)).one().created = now() - timedelta(days=2)
    before = JobRun._record

    def sweep_first(self: JobRun, *about: Any, **more: Any) -> None:
        if self.results.rows:
            sweep(database, files)
        before(self, *about, **more)

    monkeypatch.setattr(JobRun, "_record", sweep_first)
    id = paint(database, user)
    a_worker(database, files, tmp_path / "w").step()
    assert job(database, id).state == "done"
    assert not files.verify()
    with database.reading() as session:
        assert all(files.has(each) for each in session.scalars(select(File.sha256)))


def test_content_of_a_worker_that_was_killed_is_swept(
    database: Database, files: Files, user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def kill(*_: Any, **__: Any) -> None:
        if any(files.all()):
            raise Killed

    monkeypatch.setattr(JobRun, "_record", kill)
    paint(database, user)
    with pytest.raises(Killed):
        a_worker(database, files, tmp_path / "w").step()
    assert len(list(files.all())) == 1
    sweep(database, files, grace=timedelta(seconds=-60))
    assert list(files.all()) == []


def test_a_machine_that_slept_renews_its_lease_at_once(database: Database, user: User) -> None:
    """Its own clock stood still, and the database's jumped."""
    id = paint(database, user)
    assert claim(database, worker="w", lease=60.0)
    heartbeat = Heartbeat(database, id, "w", Controls(), lease=60.0, pauses=False)
    assert not heartbeat._is_due()
    with database.session() as session:
        session.get_one(Job, id).lease = database.now(session) - timedelta(seconds=3600)
    assert heartbeat._is_due()
    heartbeat._beat()
    assert queue.expire(database) == []


def test_a_clock_that_is_set_back_takes_no_seconds_off_the_quota(database: Database, user: User) -> None:
    id = paint(database, user)
    assert claim(database, worker="w")
    with database.session() as session:
        session.get_one(Job, id).claimed = database.now(session) + timedelta(hours=1)
    queue.finish(database, id, "w", "done")
    assert job(database, id).seconds == 0


def test_files_of_an_older_database_stay_readable_by_those_who_sent_them(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/old.db"
    with create_engine(url).begin() as connection:
        upgrade(connection, "0001")
        user = "'u', 'ann', 'member', false, 0, 0, 0, '2026-01-01 00:00:00'"
        connection.execute(text(f"INSERT INTO users VALUES ({user})"))
        connection.execute(text(f"INSERT INTO files VALUES ('{SHA256}', 1, 'image/png', 'u', '2026-01-01 00:00:00')"))
    database = open_database(url)
    with database.reading() as session:
        assert may_read_file(session, session.get_one(User, "u"), SHA256)
    database.close()
