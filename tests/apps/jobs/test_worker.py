"""The worker: results become rows, wishes are granted, and an interrupted job resumes to the same bits."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from limner.apps.jobs.concept_rows import read_header
from limner.apps.jobs.database import Database
from limner.apps.jobs.files import Files
from limner.apps.jobs.made import Made
from limner.apps.jobs.payloads import Plan, plan
from limner.apps.jobs.progress import Progress
from limner.apps.jobs.queue import submit, wish
from limner.apps.jobs.tables import Concept, Conversation, Job, JobEvent, Picture, Reference, Subject, User
from limner.apps.jobs.turns import _accept
from limner.apps.jobs.uploads import store
from limner.apps.jobs.wishes import choose
from limner.apps.jobs.worker import Worker
from limner.errors import InputError, UnknownName
from limner.workflows.events import Event, Message
from limner.workflows.requests import ConverseRequest

from . import workflows
from .workflows import PIXEL

Make = Callable[..., Worker]


@pytest.fixture
def make(database: Database, files: Files, tmp_path: Path) -> Make:
    """Make a worker with quick workflows; a name is a machine with a data folder of its own."""

    def make(name: str = "w", **more: Any) -> Worker:
        about = {"name": name, "data": tmp_path / name, "lease": 5.0, "run_workflow": workflows.mixed, **more}
        return Worker(database, files, **about)

    return make


@pytest.fixture
def subject(database: Database, files: Files, user: User) -> Subject:
    return add_subject(database, files, user)


def add_subject(database: Database, files: Files, user: User, name: str = "rex") -> Subject:
    sha256 = store(database, files, PIXEL, owner=user.id, media_type="image/png")
    with database.session() as session:
        row = Subject(owner_id=user.id, name=name, noun="dog", pictures=[Reference(sha256=sha256)])
        session.add(row)
        session.flush()
        return row


def learn(database: Database, subject: Subject, *, steps: int = 3, pause: float = 1, **more: Any) -> str:
    payload = {"subject": subject.id, "settings": {"steps": steps, "pause": pause}, **more}
    return submit(database, owner=subject.owner_id, kind="learn", payload=payload)


def job(database: Database, id: str) -> Job:
    with database.reading() as session:
        return session.scalars(select(Job).where(Job.id == id)).one()


def rows(database: Database, table: Any) -> list[Any]:
    with database.reading() as session:
        return list(session.scalars(select(table)))


def events(database: Database, id: str) -> list[dict[str, Any]]:
    with database.reading() as session:
        return [
            row.record for row in session.scalars(select(JobEvent).where(JobEvent.job_id == id).order_by(JobEvent.id))
        ]


def until(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def total(files: Files, concept: Concept) -> int:
    """The "weights" of a concept of the quick training."""
    return int(read_header(files.local(concept.sha256))["sum"])


def test_a_training_becomes_a_concept(database: Database, files: Files, subject: Subject, make: Make) -> None:
    id = learn(database, subject, steps=3)
    worker = make()
    assert worker.step()
    assert not worker.step()
    over = job(database, id)
    (concept,) = rows(database, Concept)
    assert (over.state, over.failure, over.result["concepts"]) == ("done", "", [concept.id])
    assert (concept.name, concept.handle, concept.noun, concept.method) == ("rex", "<rex>", "dog", "fake")
    assert (concept.subject_id, concept.job_id, concept.base) == (subject.id, id, "pocket")
    assert concept.certificate == [{"what": "the base comes back", "ok": True, "finding": "bit for bit"}]
    assert concept.diagnosis["label"] == "balanced"
    assert concept.diagnosis["finding"]
    assert total(files, concept) == 6
    assert (over.progress["done"], over.progress["total"]) == (3, 3)
    kinds = [record["event"] for record in events(database, id)]
    assert kinds[:2] == ["job_started", "run_planned"]
    assert kinds[-1] == "job_done"
    assert over.seconds > 0
    assert not list((worker.data / "jobs").iterdir())


def test_no_path_of_the_worker_reaches_the_database(
    database: Database, subject: Subject, make: Make, tmp_path: Path
) -> None:
    id = learn(database, subject)
    make().step()
    texts = [str(record) for record in events(database, id)]
    texts += [str(job(database, id).result), str(job(database, id).progress)]
    texts += [str(concept.header) for concept in rows(database, Concept)]
    assert not [text for text in texts if str(tmp_path) in text]


def test_the_progress_that_is_shown_names_no_path_of_the_worker() -> None:
    progress = Progress({})
    progress.take(Message("/data/jobs/7/in/photos: a folder"), {"event": "message", "text": "in/photos: a folder"}, 0)
    assert progress.values["text"] == "in/photos: a folder"


def test_a_second_concept_of_a_name_gets_a_number(database: Database, subject: Subject, make: Make) -> None:
    for _ in range(3):
        learn(database, subject)
    worker = make()
    while worker.step():
        pass
    assert sorted(concept.name for concept in rows(database, Concept)) == ["rex", "rex-2", "rex-3"]


def test_wishes_are_granted_while_it_trains(database: Database, files: Files, subject: Subject, make: Make) -> None:
    """A sample and a state at once, then a stop that keeps the concept."""
    id = learn(database, subject, steps=2000, pause=5)
    with running(make()):
        until(lambda: job(database, id).progress.get("done"))
        wish(database, id, "sample")
        wish(database, id, "save")
        until(lambda: rows(database, Picture))
        until(lambda: any(record["event"] == "state_saved" for record in events(database, id)))
        wish(database, id, "stop")
        until(lambda: job(database, id).state == "done")
    (picture,) = rows(database, Picture)
    (concept,) = rows(database, Concept)
    (sample,) = [record for record in events(database, id) if record["event"] == "sample_painted"]
    assert sample["pictures"] == [picture.id]
    assert (picture.purpose, picture.seed, picture.concepts[0]["id"]) == ("sample", 7, concept.id)
    done = concept.header["cost"]["steps"]
    assert total(files, concept) == done * (done + 1) // 2
    assert [state["done"] for state in concept.states][-1] == done
    assert all(files.has(state["sha256"]) for state in concept.states)
    assert len(concept.states) == 2


def test_a_paused_training_resumes_to_the_same_result(
    database: Database, files: Files, subject: Subject, make: Make
) -> None:
    id = learn(database, subject, steps=60, pause=10)
    with running(make()):
        until(lambda: job(database, id).progress.get("done"))
        wish(database, id, "save")
        until(lambda: job(database, id).progress.get("states"))
        wish(database, id, "pause")
        until(lambda: job(database, id).state == "paused")
        before = job(database, id)
        assert 0 < before.progress["done"] < 60
        wish(database, id, "resume")
        until(lambda: job(database, id).state == "done")
    (concept,) = rows(database, Concept)
    assert total(files, concept) == 60 * 61 // 2
    assert len(concept.states) == 2  # the one saved before the pause, and the end
    assert "states" not in job(database, id).progress
    resumed = [record["done"] for record in events(database, id) if record["event"] == "update_done"]
    assert resumed == sorted(resumed)  # no update was done twice


def test_a_cancelled_training_leaves_nothing(database: Database, subject: Subject, make: Make) -> None:
    id = learn(database, subject, steps=2000, pause=5)
    worker = make()
    with running(worker):
        until(lambda: job(database, id).progress.get("done"))
        wish(database, id, "cancel")
        until(lambda: job(database, id).state == "cancelled")
        until(lambda: not worker.job_id)
    assert rows(database, Concept) == []
    assert not list((worker.data / "jobs").iterdir())


def test_a_worker_that_is_told_to_end_hands_its_job_back(
    database: Database, files: Files, subject: Subject, make: Make
) -> None:
    id = learn(database, subject, steps=60, pause=10)
    with running(make()):
        until(lambda: job(database, id).progress.get("done", 0) > 2)
    assert job(database, id).state == "queued"
    assert make().step()
    (concept,) = rows(database, Concept)
    assert total(files, concept) == 60 * 61 // 2


def test_another_machine_resumes_from_the_file_store(
    database: Database, files: Files, subject: Subject, make: Make
) -> None:
    id = learn(database, subject, steps=60, pause=10)
    with running(make("first", shares=True, checkpoint_seconds=0.05)):
        until(lambda: job(database, id).progress.get("done", 0) > 2)
    paused_at = job(database, id).progress["done"]
    assert job(database, id).checkpoint["files"]
    assert make("second", shares=True).step()
    (concept,) = rows(database, Concept)
    assert total(files, concept) == 60 * 61 // 2
    updates = [record["done"] for record in events(database, id) if record["event"] == "update_done"]
    assert updates.count(1) == 1
    assert paused_at + 1 in updates
    # checkpoints are gone once the job is done, and its row keeps no file of them from the sweep
    assert job(database, id).checkpoint == {}
    names = {concept.sha256, *(picture.sha256 for picture in subject.pictures)}
    assert set(files.all()) == names


@pytest.mark.parametrize("machine", ["the same", "another"])
def test_a_training_waits_for_a_choice_among_its_pictures(
    database: Database, files: Files, subject: Subject, make: Make, machine: str
) -> None:
    """It shows the pictures, pauses, and goes on with those that were chosen, on whatever machine."""
    payload = {"subject": subject.id, "settings": {"steps": 3, "choose": "page"}}
    id = submit(database, owner=subject.owner_id, kind="learn", payload=payload)
    assert make("first", shares=True).step()
    asked = job(database, id)
    assert (asked.state, asked.failure) == ("paused", "")
    question = asked.progress["choice"]
    pictures = {row.id: row for row in rows(database, Picture)}
    assert [pictures[each].prompt for each in question["pictures"]] == [f"picture {k} in <rex>" for k in range(3)]
    assert all(row.purpose == "sample" and row.owner_id == subject.owner_id for row in pictures.values())
    assert (question["keep"], question["folder"]) == (2, "page")
    records = events(database, id)
    shown = [record["pictures"] for record in records if record["event"] == "choice_needed"]
    assert shown == [question["pictures"]]
    assert records[-1] == {"event": "job_paused", "why": "choice"}
    for wrong in ([], [0, 1, 2], [1, 1], [3], [-1]):
        with pytest.raises(InputError, match="choose from 1 to 2 different ones of the 3 pictures"):
            choose(database, id, wrong)
    assert choose(database, id, [2, 0]) == "queued"
    with pytest.raises(InputError, match="does not wait for a choice"):
        choose(database, id, [0])
    assert make("first" if machine == "the same" else "second", shares=True).step()
    over = job(database, id)
    assert (over.state, over.failure) == ("done", "")
    assert not {"choice", "chosen"} & over.progress.keys()
    (concept,) = rows(database, Concept)
    assert total(files, concept) == 2 + 0 + 6
    assert over.payload == payload
    assert len(rows(database, Picture)) == 3


def test_a_job_without_a_question_takes_no_choice(database: Database, subject: Subject) -> None:
    id = learn(database, subject)
    for number in (id, "0" * 32):
        with pytest.raises(InputError, match="does not wait for a choice"):
            choose(database, number, [0])


def test_pictures_are_stored_as_they_are_painted_and_a_pause_repeats_none(
    database: Database, user: User, make: Make
) -> None:

    def slowly(request: Any, **about: Any) -> Iterator[Event]:
        for event in workflows.paint(request, **about):
            yield event
            time.sleep(0.2)

    payload = {"prompts": ["a dog", "a cat"], "count": 2, "seed": 10}
    id = submit(database, owner=user.id, kind="paint", payload=payload)
    with running(make(run_workflow=slowly)):
        until(lambda: rows(database, Picture))
        wish(database, id, "pause")
        until(lambda: job(database, id).state == "paused")
        assert 0 < len(rows(database, Picture)) < 4
        wish(database, id, "resume")
        until(lambda: job(database, id).state == "done")
    pictures = sorted(rows(database, Picture), key=lambda picture: picture.seed)
    assert [(picture.prompt, picture.seed) for picture in pictures] == [
        *(("a dog", 10), ("a dog", 11), ("a cat", 12), ("a cat", 13))
    ]
    assert all(picture.purpose == "gallery" for picture in pictures)


def test_conversations_are_read_by_the_language_model_of_the_worker(database: Database, user: User, make: Make) -> None:
    with database.session() as session:
        row = Conversation(owner_id=user.id, title="talk")
        session.add(row)
        session.flush()
        payload = {"conversation": row.id, "words": "a dog"}
    submit(database, owner=user.id, kind="converse", payload=payload)
    requests: list[Any] = []

    def keep(request: Any, **_: Any) -> Iterator[Event]:
        requests.append(request)
        yield from ()

    make(run_workflow=keep, llm="http://127.0.0.1:8000/v1", llm_model="m").step()
    assert [(each.llm, each.llm_model) for each in requests] == [("http://127.0.0.1:8000/v1", "m")]
    with database.reading() as session, pytest.raises(UnknownName, match="llm"):
        plan(session, user, "converse", {**payload, "llm": "http://169.254.169.254/"})


def test_an_accepted_picture_joins_the_photos_of_its_subject_and_of_no_merged_concept(
    database: Database, subject: Subject, user: User
) -> None:
    concepts = [Concept(handle="<rex>", subject_id=subject.id), Concept(handle="<both>", subject_id=None)]
    made = Made(Job(id="0" * 32, owner_id=user.id), Plan(ConverseRequest(words=""), {}, {}, concepts))
    with database.session() as session:
        (sha256,) = (picture.sha256 for picture in session.get_one(Subject, subject.id).pictures)
        assert _accept(session, made, {"rex": sha256, "both": sha256}) == ["both"]
    with database.reading() as session:
        assert len(session.get_one(Subject, subject.id).pictures) == 2


def test_a_fault_of_the_program_fails_one_job_and_no_worker(database: Database, user: User, make: Make) -> None:
    bad = submit(database, owner=user.id, kind="estimate", payload={})
    good = submit(database, owner=user.id, kind="paint", payload={"prompts": ["a dog"]})
    flows = {"estimate": workflows.broken, "paint": workflows.paint}
    worker = make(run_workflow=lambda request, **about: flows[request.kind_of_work](request, **about))
    while worker.step():
        pass
    assert job(database, bad).state == "failed"
    assert "ZeroDivisionError" in job(database, bad).failure
    assert job(database, good).state == "done"


def test_a_payload_that_no_longer_holds_fails_with_the_reason(
    database: Database, files: Files, subject: Subject, make: Make
) -> None:
    id = learn(database, subject)
    with database.session() as session:
        session.merge(subject).deleted = subject.created
    make().step()
    assert job(database, id).state == "failed"
    assert "there is no subject" in job(database, id).failure
    assert [record["event"] for record in events(database, id)] == ["job_failed"]


def test_damaged_photos_fail_the_job_and_are_named(
    database: Database, files: Files, subject: Subject, make: Make
) -> None:
    id = learn(database, subject)
    sha256 = subject.pictures[0].sha256
    files.system.pipe_file(files._place(sha256), b"damaged")
    make().step()
    assert job(database, id).state == "failed"
    assert f"{sha256} is damaged" in job(database, id).failure
    store(database, files, PIXEL, owner=subject.owner_id, media_type="image/png")
    assert wish(database, id, "resume") == "queued"
    make().step()
    assert job(database, id).state == "done"


def test_a_job_whose_lease_was_lost_is_left_to_the_other_worker(
    database: Database, subject: Subject, make: Make
) -> None:
    """The first worker's rows and events are refused, and it goes on with other jobs."""
    id = learn(database, subject, steps=100, pause=10)
    worker = make()
    with running(worker):
        until(lambda: job(database, id).progress.get("done"))
        with database.session() as session:
            session.get_one(Job, id).worker = "other"
        until(lambda: not worker.job_id)
    assert job(database, id).worker == "other"
    assert job(database, id).state == "running"
    assert rows(database, Concept) == []


def test_a_quota_of_seconds_pauses_a_running_job(database: Database, user: User, subject: Subject, make: Make) -> None:
    with database.session() as session:
        session.get_one(User, user.id).most_seconds = 1
    id = learn(database, subject, steps=2000, pause=5)
    with running(make(lease=1.0)):
        until(lambda: job(database, id).state == "paused")
    assert events(database, id)[-1] == {"event": "job_paused", "why": "quota"}
    with pytest.raises(InputError, match="within 24 hours"):
        wish(database, id, "resume")


def test_folders_of_jobs_that_are_over_are_tidied(database: Database, subject: Subject, make: Make) -> None:
    worker = make()
    for name in ("0" * 32, learn(database, subject)):
        (worker.data / "jobs" / name).mkdir(parents=True)
    assert [path.name for path in worker.tidy()] == ["0" * 32]


# -------------------------------------------------------------------------------------------------------- two processes


def start(url: str, place: Path, data: Path, name: str, lease: float = 2.0) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.apps.jobs.process", url, str(place), str(data), name, str(lease)]
    return subprocess.Popen(command)


def test_of_two_workers_one_is_killed_and_no_job_is_lost_or_done_twice(
    database: Database, files: Files, user: User, subject: Subject, url: str, tmp_path: Path
) -> None:
    """kill -9 in the middle of a training; the other worker, and then the same one again, finish everything."""
    quick = [learn(database, add_subject(database, files, user, f"q{k}"), steps=5) for k in range(6)]
    long = learn(database, subject, steps=150, pause=10)
    both = {name: start(url, Path(files.root), tmp_path / "data", name) for name in ("one", "two")}
    try:
        until(lambda: job(database, long).progress.get("done", 0) > 5)
        victim = job(database, long).worker
        both[victim].send_signal(signal.SIGKILL)
        both[victim].wait()
        assert job(database, long).state == "running"  # nobody knows yet
        until(lambda: all(job(database, id).state == "done" for id in (*quick, long)), 40)
    finally:
        for process in both.values():
            process.terminate()
        codes = {name: process.wait(20) for name, process in both.items()}
    assert codes == {victim: -signal.SIGKILL, next(name for name in both if name != victim): 0}
    concepts = rows(database, Concept)
    assert sorted(concept.job_id for concept in concepts) == sorted([*quick, long])
    (killed,) = [concept for concept in concepts if concept.job_id == long]
    assert total(files, killed) == 150 * 151 // 2
    assert job(database, long).attempts == 2
    assert {job(database, id).attempts for id in quick} == {1}


class running:
    """A worker in a thread of its own, told to end at the end."""

    def __init__(self, worker: Worker) -> None:
        self.over = threading.Event()
        self.thread = threading.Thread(target=worker.run, args=(self.over,))

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join(20)
        assert not self.thread.is_alive()


@pytest.fixture(autouse=True)
def _quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    from limner.apps.jobs import heartbeat, progress, worker

    monkeypatch.setattr(heartbeat, "LOOK", 0.02)
    monkeypatch.setattr(progress, "SECONDS", 0.02)
    monkeypatch.setattr(worker, "POLL", 0.02)
