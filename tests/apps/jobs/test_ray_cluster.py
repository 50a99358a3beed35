"""Workers on a real Ray, by its address and by the command; skipped where Ray is not installed."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from limner.apps.jobs.concept_rows import read_header
from limner.apps.jobs.database import Database
from limner.apps.jobs.files import Files
from limner.apps.jobs.queue import submit
from limner.apps.jobs.ray_workers import RayWorkers, start_ray_workers
from limner.apps.jobs.tables import Concept, Reference, Subject, User
from limner.apps.jobs.uploads import store
from limner.pocket.subjects import toy

from .test_worker import add_subject, job, learn, until
from .workflows import mixed

ray = pytest.importorskip("ray", reason="Ray is not installed: its cluster was not tested (pip install 'limner[ray]')")
ROOT = Path(__file__).parents[3]
CALM = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "PYTHONPATH": f"{ROOT}/src:{ROOT}"}


@pytest.fixture(scope="module", autouse=True)
def no_tokens() -> Iterator[None]:
    """Ray asks for a token wherever one lies in the user's home, and puts one there itself for a cluster of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        yield


@pytest.fixture(scope="module")
def ports() -> tuple[int, int]:
    """Free ports of a cluster, and of its server for clients of other machines."""
    with socket.socket() as one, socket.socket() as other:
        for held in (one, other):
            held.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


@pytest.fixture(scope="module")
def clients(ports: tuple[int, int]) -> str:
    return f"ray://127.0.0.1:{ports[1]}"


@pytest.fixture(scope="module")
def cluster(ports: tuple[int, int]) -> Iterator[str]:
    """The address of a cluster of one machine, whose processes find these tests."""
    port = ports[0]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}"]
    few = [
        f"--ray-client-server-port={ports[1]}",
        "--num-cpus=4",
        "--node-ip-address=127.0.0.1",
        "--include-dashboard=false",
        "--disable-usage-stats",
    ]
    with subprocess.Popen([*command, *few], env=os.environ | CALM, stdout=subprocess.DEVNULL) as head:
        try:
            address = f"127.0.0.1:{port}"
            until(lambda: head.poll() is not None or answers(port), seconds=120)
            yield address
        finally:
            ray.shutdown()
            head.terminate()  # ends its own processes, and nobody else's
            head.wait(60)


def answers(port: int) -> bool:
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def workers(cluster: str, database: Database, url: str, files: Files, tmp_path: Path) -> Iterator[RayWorkers]:
    about = {"data": tmp_path / "data", "run_workflow": mixed, "lease": 3.0, "checkpoint_seconds": 0.2}
    if url.startswith("sqlite"):
        pytest.skip("a cluster needs PostgreSQL")
    started = start_ray_workers(url, files.root, count=2, address=cluster, about=about)
    yield started
    started.stop()


def test_actors_of_a_cluster_do_every_job_once(workers: RayWorkers, database: Database, user: User) -> None:
    ids = [submit(database, owner=user.id, kind="paint", payload={"prompts": ["a dog"]}) for _ in range(12)]
    until(lambda: sum(row["done"] for row in workers.status()) == 12, seconds=60)
    assert len({row["name"] for row in workers.status()}) == 2
    done = [job(database, id) for id in ids]
    assert [(one.state, one.attempts) for one in done] == [("done", 1)] * 12


def test_the_job_of_an_actor_that_is_killed_goes_on_elsewhere_and_is_done_once(
    workers: RayWorkers, database: Database, files: Files, user: User
) -> None:
    number = learn(database, add_subject(database, files, user), steps=150, pause=40)

    def holder() -> str:
        return next((row["name"] for row in workers.status() if row["job"] == number), "")

    until(lambda: bool(holder()) and job(database, number).progress.get("done", 0) > 10, seconds=60)
    first = holder()
    os.kill(int(first.rsplit("-", 2)[1]), signal.SIGKILL)
    watched = threading.Event()
    threading.Timer(3, watched.set).start()
    while not watched.is_set():  # the command asks for the status every second, and must survive this
        workers.status()
        time.sleep(0.2)
    until(lambda: job(database, number).state == "done", seconds=60)
    over = job(database, number)
    assert over.attempts == 2
    with database.reading() as session:
        (concept,) = session.scalars(select(Concept)).all()
    header: Any = read_header(files.local(concept.sha256))
    assert header["sum"] == sum(range(1, 151))  # every update once, resumed from the checkpoint
    assert len(workers.status()) == 2
    until(lambda: all(row["alive"] for row in workers.status()), seconds=60)  # Ray started it anew


@pytest.mark.parametrize("how", ["local", "client"])
def test_the_command_hands_its_job_back_when_it_is_told_to_end(
    how: str, cluster: str, clients: str, database: Database, url: str, files: Files, user: User, tmp_path: Path
) -> None:
    if how == "client" and url.startswith("sqlite"):
        pytest.skip("a cluster needs PostgreSQL")
    number = long_training(database, files, user)
    place = ["--data", str(tmp_path), "--database", url, "--files", files.root]
    command = [sys.executable, "-m", "limner", "worker", "--ray", "local" if how == "local" else clients, *place]
    about: dict[str, Any] = {"env": os.environ | CALM, "cwd": tmp_path}
    with (tmp_path / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log, **about) as process:
        try:
            until(lambda: process.poll() is not None or job(database, number).progress.get("done", 0) > 2, seconds=200)
            process.send_signal(signal.SIGTERM)
            assert process.wait(90) == 0, (tmp_path / "log").read_text()
        finally:
            process.kill()
    over = job(database, number)
    assert (over.state, over.worker, over.attempts) == ("queued", "", 0)
    assert any(name.endswith("checkpoint.safetensors") for name in over.checkpoint["files"])


def long_training(database: Database, files: Files, user: User) -> str:
    """Add a real training of many updates on the pocket base, and return its id."""
    sent = []
    for picture in toy("dog", 2_000_012, count=2).pictures:
        buffer = io.BytesIO()
        assert picture.image is not None
        picture.image.save(buffer, "PNG")
        sent.append(store(database, files, buffer.getvalue(), owner=user.id, media_type="image/png"))
    with database.session() as session:
        pictures = [Reference(sha256=sha256, position=k) for k, sha256 in enumerate(sent)]
        subject = Subject(owner_id=user.id, name="rex", noun="dog", pictures=pictures)
        session.add(subject)
        session.flush()
        payload = {"subject": subject.id, "method": "textual_inversion", "settings": {"steps": 100_000, "batch": 1}}
    return submit(database, owner=user.id, kind="learn", payload=payload | {"score": False, "check": False})
