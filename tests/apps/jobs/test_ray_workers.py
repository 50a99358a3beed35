"""Workers on Ray, without Ray: a stand-in runs the same actors in this process, so that this project's side of the seam
is tested where Ray is not installed. `test_ray_cluster.py` runs them on a real cluster."""

from __future__ import annotations

import sys
import types
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from limner.apps.jobs.database import Database
from limner.apps.jobs.files import Files
from limner.apps.jobs.queue import submit
from limner.apps.jobs.ray_workers import start_ray_workers
from limner.apps.jobs.tables import Job, User
from limner.errors import InputError, MissingExtra

from .test_worker import until
from .workflows import mixed


class Actor:
    """An actor in this process; calls are answered by threads, as Ray answers them by processes."""

    pool = ThreadPoolExecutor(8)

    def __init__(self, made: Any) -> None:
        self._made = made

    def __getattr__(self, name: str) -> Any:
        return types.SimpleNamespace(remote=lambda *args: self.pool.submit(getattr(self._made, name), *args))


class Remote:
    def __init__(self, kind: Any, log: list[Any]) -> None:
        self.kind, self.log = kind, log

    def options(self, **options: Any) -> Remote:
        self.log.append(options)
        return self

    def remote(self, *args: Any) -> Actor:
        return Actor(self.kind(*args))


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Any:
    log: list[Any] = []

    def wait(futures: list[Future[Any]], num_returns: int, timeout: float) -> Any:
        return [future.result(timeout) for future in futures], []

    fake = types.SimpleNamespace(
        log=log,
        init=lambda **about: log.append(about),
        remote=lambda kind: Remote(kind, log),
        get=lambda future: future.result(20),
        wait=wait,
        kill=lambda actor: log.append("killed"),
        exceptions=types.SimpleNamespace(RayActorError=ConnectionError),
    )
    monkeypatch.setitem(sys.modules, "ray", fake)
    return fake


def test_actors_run_the_jobs_of_the_queue(
    database: Database, url: str, files: Files, user: User, ray: Any, tmp_path: Path
) -> None:
    payload = {"prompts": ["a dog"]}
    ids = [submit(database, owner=user.id, kind="paint", payload=payload) for _ in range(6)]
    about = {"data": tmp_path / "data", "run_workflow": mixed}
    resources = {"num_gpus": 1}
    workers = start_ray_workers(url, files.root, count=2, address="local", resources=resources, about=about)
    until(lambda: sum(row["done"] for row in workers.status()) == 6)
    assert len({row["name"] for row in workers.status()}) == 2
    workers.stop()
    assert [row["alive"] for row in workers.status()] == [False, False]
    with database.reading() as session:
        jobs = [session.get_one(Job, id) for id in ids]
    assert [(job.state, job.attempts) for job in jobs] == [("done", 1)] * 6
    assert {"num_gpus": 1} in ray.log
    assert ray.log.count("killed") == 2


def test_a_worker_that_died_does_not_end_the_command(
    database: Database, url: str, files: Files, ray: Any, tmp_path: Path
) -> None:
    workers = start_ray_workers(url, files.root, count=2, address="local", about={"data": tmp_path / "data"})
    dead = Future[Any]()
    dead.set_exception(ConnectionError("the actor died"))
    stopped, workers.actors[0].status = workers.actors[0], types.SimpleNamespace(remote=lambda: dead)
    assert [row["alive"] for row in workers.status()] == [False, True]
    del stopped.status
    workers.stop()


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"pip install 'limner\[ray\]'"):
        start_ray_workers("postgresql://x/y", "files", count=1)


def test_a_cluster_needs_a_database_that_its_machines_reach() -> None:
    with pytest.raises(InputError, match="on one machine"):
        start_ray_workers("sqlite:///a.db", "files", count=1)
