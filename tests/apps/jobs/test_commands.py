"""`limner worker` and `limner users`, on the real workflows and the pocket base."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from limner.apps.cli.main import main
from limner.apps.jobs.database import Database, open_database
from limner.apps.jobs.files import Files, open_files
from limner.apps.jobs.queue import submit
from limner.apps.jobs.tables import (
    Audit,
    Concept,
    Conversation,
    Job,
    JobEvent,
    Picture,
    Reference,
    Subject,
    Turn,
)
from limner.apps.jobs.uploads import store
from limner.apps.jobs.users import create_user, user_of_token
from limner.apps.jobs.worker import Worker
from limner.core.picture import png_bytes
from limner.core.subject import Subject as Photos

from .test_worker import until

STEPS = 6


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory, rex: Photos) -> tuple[str, str, str]:
    """URL of a database, URL of a file store, and the id of a subject with the toy's pictures."""
    folder = tmp_path_factory.mktemp("studio")
    url, place = f"sqlite:///{folder}/studio.db", str(folder / "files")
    database, files = open_database(url), open_files(place)
    user = create_user(database, "ann", role="admin")
    photos = [png_bytes(picture.image) for picture in rex.pictures if picture.image is not None]
    names = [store(database, files, data, owner=user.id, media_type="image/png") for data in photos]
    with database.session() as session:
        pictures = [Reference(position=k, sha256=name) for k, name in enumerate(names)]
        subject = Subject(owner_id=user.id, name="rex", noun="dog", kind="pet", pictures=pictures)
        session.add(subject)
        session.flush()
        id = subject.id
    database.close()
    return url, place, id


def learn(database: Database, subject: str, **more: Any) -> str:
    with database.reading() as session:
        owner = session.get_one(Subject, subject).owner_id
    about = {"score": False, "check": False, "preview": 0, "states": 0, "seed": 3, **more}
    payload = {"subject": subject, "method": "textual_inversion", "settings": {"steps": STEPS, "batch": 2}, **about}
    return submit(database, owner=owner, kind="learn", payload=payload)


def worker(url: str, place: str, data: Path, **env: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", CHECKPOINTS, "worker", "--database", url, "--files", place, "--data", str(data)]
    return subprocess.Popen(command, env={**os.environ, **env}, stderr=subprocess.DEVNULL)


CHECKPOINTS = """
import sys, time
import limner.engine.checkpoint as checkpoint
import limner.engine.train as train
from limner.apps.cli.main import main
from limner.apps.jobs import queue, worker
checkpoint.CHECKPOINT_SECONDS = 0.0  # after every update
worker.LEASE = queue.LEASE = 2.0
worker.Worker.__init__.__kwdefaults__["lease"] = 2.0
sys.exit(main(sys.argv[1:]))
"""


def job(database: Database, id: str) -> Job:
    with database.reading() as session:
        return session.scalars(select(Job).where(Job.id == id)).one()


def tensors(database: Database, files: Files, id: str) -> dict[str, Any]:
    from limner.core.concept import Concept as ConceptFile

    with database.reading() as session:
        row = session.scalars(select(Concept).where(Concept.job_id == id)).one()
    return dict(ConceptFile.load(files.local(row.sha256, ".safetensors")).tensors)


def test_a_training_whose_worker_is_killed_ends_at_the_same_bits(
    studio: tuple[str, str, str], base: Any, tmp_path: Path
) -> None:
    """kill -9 in the middle of a real training; another worker resumes it from the same folder."""
    url, place, subject = studio
    database, files = open_database(url), open_files(place)
    disturbed = learn(database, subject)
    first = worker(url, place, tmp_path / "data")
    checkpoint = tmp_path / "data" / "work" / "jobs" / disturbed / "out" / "rex" / "checkpoint.safetensors"
    until(checkpoint.exists, 60)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert job(database, disturbed).state == "running"
    undisturbed = learn(database, subject)
    second = Worker(
        database, files, name="second", data=tmp_path / "data" / "work", lease=2.0, open_base=lambda choice: base
    )
    until(lambda: (second.step(), job(database, disturbed).state == "done")[1], 90)
    until(lambda: (second.step(), job(database, undisturbed).state == "done")[1], 90)
    one, other = tensors(database, files, disturbed), tensors(database, files, undisturbed)
    assert one.keys() == other.keys()
    assert all(one[name].equal(other[name]) for name in one)
    assert job(database, disturbed).attempts == 2
    updates = [event["done"] for event in events(database, disturbed) if event["event"] == "update_done"]
    assert updates[-1] == STEPS
    assert not (tmp_path / "data" / "work" / "jobs" / disturbed).exists()


def events(database: Database, id: str) -> list[dict[str, Any]]:
    with database.reading() as session:
        query = select(JobEvent).where(JobEvent.job_id == id).order_by(JobEvent.id)
        return [row.record for row in session.scalars(query)]


def test_the_real_workflows_fill_the_rows(studio: tuple[str, str, str], base: Any, tmp_path: Path) -> None:
    """Learn with samples and states; then paint, protect, look, compare, states, export, estimate, talk."""
    url, place, subject = studio
    database, files = open_database(url), open_files(place)
    about = {"preview": 1, "states": 2, "sample_every": 3, "hold_out": 1}
    id = learn(database, subject, **about)
    running = Worker(database, files, name="here", data=tmp_path / "data", open_base=lambda choice: base)

    def ended(id: str) -> Job:
        while running.step():
            pass
        over = job(database, id)
        assert over.state == "done", over.failure
        return over

    ended(id)
    with database.reading() as session:
        concept = session.scalars(select(Concept).where(Concept.job_id == id)).one()
        pictures = list(session.scalars(select(Picture).where(Picture.job_id == id)))
    assert [state["done"] for state in concept.states] == [3, 6]
    assert {picture.purpose for picture in pictures} == {"sample", "preview"}
    assert {one["id"] for picture in pictures for one in picture.concepts} == {concept.id}
    one, owner = {"id": concept.id, "scale": 1.0}, concept.owner_id

    def run(kind: str, **payload: Any) -> Job:
        return ended(submit(database, owner=owner, kind=kind, payload=payload))

    painted = run("paint", prompts=["<rex> on the beach"], concepts=[one], steps=2, count=2, seed=5)
    with database.reading() as session:
        rows = list(session.scalars(select(Picture).where(Picture.job_id == painted.id).order_by(Picture.seed)))
    assert [(row.prompt, row.seed, row.settings["steps"]) for row in rows] == [
        *(("<rex> on the beach", 5, 2), ("<rex> on the beach", 6, 2))
    ]
    assert files.read(rows[0].sha256).startswith(b"\x89PNG")
    protected = run("protect", subject=subject, method="photoguard", settings={"steps": 2})
    assert [each["name"] for each in protected.result["files"]] == [f"{number:03}.png" for number in range(3)]
    assert all(files.read(each["sha256"]).startswith(b"\x89PNG") for each in protected.result["files"])
    assert all(0 < row["largest"] <= 4 for row in protected.result["photos"])
    assert not re.search(f"{tmp_path}|/job", json.dumps([protected.result, events(database, protected.id)]))
    run("look", subject=subject)
    with database.reading() as session:
        report = session.get_one(Subject, subject).report
        ids = [picture.id for picture in session.get_one(Subject, subject).pictures]
    assert [row["id"] for row in report["pictures"]] == ids
    assert all(files.has(row["picture"]) for row in report["pictures"])
    compared = run("compare", concepts=[one], prompts=["{} in the snow"], base_too=True, steps=2)
    assert [cell["concept"] for cell in compared.result["cells"]] == ["", concept.id]
    run("states", concept=one, prompts=["<rex> here"], steps=2)
    with database.reading() as session:
        states = session.get_one(Concept, concept.id).states
    assert [(state["done"], len(state["pictures"])) for state in states] == [(3, 1), (6, 1)]
    exported = run("export", concept=one, to="diffusers")
    assert all(files.size(file["sha256"]) == file["bytes"] for file in exported.result["files"])
    assert exported.result["files"]
    assert run("estimate", subject=subject, measure=False).result["method"]
    with database.session() as session:
        talk = Conversation(owner_id=owner)
        session.add(talk)
        session.flush()
    first = run("converse", conversation=talk.id, words="rex on the beach", concepts=[one], seed=5, steps=2)
    again = run("converse", conversation=talk.id, words="in the snow", parent=first.result["turn"], steps=2)
    with database.reading() as session:
        turns = [session.get_one(Turn, each.result["turn"]) for each in (first, again)]
        assert session.get_one(Conversation, talk.id).current_id == turns[1].id
    assert [turn.parent_id for turn in turns] == [None, turns[0].id]
    assert all(turn.picture_id for turn in turns)
    assert turns[0].picture_id != turns[1].picture_id
    assert [turn.state["turn"] for turn in turns] == ["t1", "t2"]


def test_users_and_tokens_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = ["--database", f"sqlite:///{tmp_path}/a.db", "--json"]

    def run(*words: str) -> Any:
        assert main(["users", *words, *places]) == 0
        return json.loads(capsys.readouterr().out)

    made = run("add", "ann", "--most-jobs", "3")  # the first one is an admin
    run("add", "bob")
    again = run("token", "ann", "--label", "laptop")
    database = open_database(places[1])
    for secret in (made["token"], again["token"]):
        found = user_of_token(database, secret)
        assert found is not None
        user, _ = found
        assert (user.name, user.role, user.most_jobs) == ("ann", "admin", 3)
    listed = {row["name"]: row for row in run("list")}
    assert {name: [each["label"] for each in row["tokens"]] for name, row in listed.items()} == {
        "ann": ["first", "laptop"],
        "bob": ["first"],
    }
    assert main(["users", "list", *places[:2]]) == 0
    text, laptop = capsys.readouterr().out, listed["ann"]["tokens"][1]
    assert laptop["id"] in text
    assert made["token"] not in text
    with database.reading() as session:
        assert set(session.scalars(select(Audit.user_id))) == {""}  # the operator's acts, and no user's
    run("revoke", laptop["id"])
    assert [each["label"] for each in run("list")[0]["tokens"]] == ["first"]
    assert user_of_token(database, again["token"]) is None
    assert user_of_token(database, made["token"]) is not None
    run("disable", "ann")
    assert user_of_token(database, made["token"]) is None
    assert main(["users", "token", *places]) != 0
    assert "needs a name" in capsys.readouterr().err


def test_a_worker_ends_well_when_it_is_told_to(tmp_path: Path) -> None:
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    assert main(["worker", "--data", str(tmp_path)]) == 0


def test_a_worker_refuses_kinds_that_do_not_exist(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["worker", "--database", f"sqlite:///{tmp_path}/a.db", "--kinds", "lern"]) != 0
    assert "learn" in capsys.readouterr().err
