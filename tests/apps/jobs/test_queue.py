"""The queue: each job is claimed once, leases run out, wishes arrive, order and quotas hold."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from limner.apps.jobs import queue
from limner.apps.jobs.database import Database
from limner.apps.jobs.queue import LeaseLost, QuotaExceeded, claim, finish, hand_back, record, renew, submit
from limner.apps.jobs.tables import Concept, Conversation, Job, JobEvent, User, now
from limner.apps.jobs.users import create_user, set_disabled
from limner.apps.jobs.wishes import Wishes
from limner.errors import InputError, UnknownName


def job(database: Database, id: str) -> Job:
    with database.reading() as session:
        return session.scalars(select(Job).where(Job.id == id)).one()


def add(database: Database, owner: User, number: int = 0, **more: Any) -> str:
    return submit(database, owner=owner.id, kind=more.pop("kind", "paint"), payload={"number": number}, **more)


def claimed(database: Database, **more: Any) -> Job:
    taken = claim(database, worker="w", **more)
    assert taken is not None
    return taken


def test_a_job_goes_through_the_queue(database: Database, user: User) -> None:
    id = add(database, user, 7)
    taken = claimed(database)
    assert (taken.id, taken.payload, taken.state, taken.attempts) == (id, {"number": 7}, "running", 1)
    assert claim(database, worker="other") is None
    record(database, id, "w", [{"event": "message", "text": "at work"}], {"done": 1, "total": 2})
    finish(database, id, "w", "done", result={"pictures": ["a"]})
    over = job(database, id)
    assert (over.state, over.result, over.worker, over.progress["done"]) == ("done", {"pictures": ["a"]}, "", 1)
    assert over.ended is not None
    assert claim(database, worker="w") is None


PROCESS = """
import sys, time
from pathlib import Path
from limner.apps.jobs.database import open_database
from limner.apps.jobs.queue import claim, finish
database = open_database(sys.argv[1])
ready = Path(sys.argv[3])
(ready / sys.argv[2]).touch()
while len(list(ready.iterdir())) < 2:
    time.sleep(0.001)
while (job := claim(database, worker=sys.argv[2])) is not None:
    finish(database, job.id, sys.argv[2], "done", result={"worker": sys.argv[2]})
"""


def test_two_processes_claim_two_hundred_jobs_each_exactly_once(
    database: Database, user: User, url: str, tmp_path: Path
) -> None:
    with database.session() as session:
        session.add_all(Job(owner_id=user.id, kind="paint", position=k) for k in range(200))
    names = ("one", "two")
    ready = tmp_path / "ready"  # where they wait for each other
    ready.mkdir()
    both = [subprocess.Popen([sys.executable, "-c", PROCESS, url, name, str(ready)]) for name in names]
    assert [process.wait(60) for process in both] == [0, 0]
    with database.reading() as session:
        jobs = session.scalars(select(Job)).all()
    assert [(each.state, each.attempts) for each in jobs] == [("done", 1)] * 200
    assert {each.result["worker"] for each in jobs} == set(names)


def test_a_lease_that_runs_out_gives_the_job_to_another_worker(database: Database, user: User) -> None:
    id = add(database, user)
    claimed(database, lease=-1)
    assert queue.expire(database) == [id]
    second = claim(database, worker="second")
    assert second is not None
    assert second.attempts == 2
    for late in (
        lambda: renew(database, id, "w"),
        lambda: record(database, id, "w", [{"event": "message"}], None),
        lambda: finish(database, id, "w", "done"),
        lambda: hand_back(database, id, "w"),
    ):
        with pytest.raises(LeaseLost, match="no longer holds"):
            late()
    finish(database, id, "second", "done")
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(JobEvent)) == 0


def test_a_renewed_lease_does_not_run_out(database: Database, user: User) -> None:
    id = add(database, user)
    claimed(database, lease=-1)
    assert renew(database, id, "w", lease=60) == Wishes()
    assert queue.expire(database) == []
    assert job(database, id).state == "running"


def test_a_job_whose_workers_end_again_and_again_fails(database: Database, user: User) -> None:
    id = add(database, user)
    for _ in range(queue.MOST_ATTEMPTS):
        claimed(database, lease=-1)
        queue.expire(database)
    over = job(database, id)
    assert over.state == "failed"
    assert "5 workers ended" in over.failure
    assert queue.wish(database, id, "resume") == "queued"  # a person may try again


def test_what_a_late_worker_would_store_is_not_stored(database: Database, user: User) -> None:
    """The rows of a result are added in the transaction that ends the job."""
    id = add(database, user)
    claimed(database, lease=-1)
    queue.expire(database)
    assert claim(database, worker="second")

    def store(session: Any, job: Job) -> dict[str, Any]:
        concept = Concept(owner_id=job.owner_id, name="rex", handle="<rex>", sha256="0" * 64, job_id=job.id)
        session.add(concept)
        session.flush()
        return {"concept": concept.id}

    with pytest.raises(LeaseLost):
        finish(database, id, "w", "done", store=store)
    finish(database, id, "second", "done", result={"seconds": 1}, store=store)
    with database.reading() as session:
        (concept,) = session.scalars(select(Concept)).all()
    assert job(database, id).result == {"seconds": 1, "concept": concept.id}


def test_wishes_reach_the_worker(database: Database, user: User) -> None:
    id = add(database, user)
    claimed(database)
    for what in ("sample", "stop"):
        assert queue.wish(database, id, what) == "running"
    assert renew(database, id, "w") == Wishes(sample=True, stop=True)
    assert renew(database, id, "w") == Wishes(stop=True)  # a sample is given once; a stop stays, should the worker die
    finish(database, id, "w", "done")
    with pytest.raises(InputError, match="it cannot stop"):
        queue.wish(database, id, "stop")


def test_pause_and_resume(database: Database, user: User) -> None:
    id = add(database, user)
    claimed(database)
    queue.wish(database, id, "pause")
    assert renew(database, id, "w").pause
    finish(database, id, "w", "paused")
    assert claim(database, worker="w") is None
    with pytest.raises(InputError, match="job that runs"):
        queue.wish(database, id, "sample")
    assert queue.wish(database, id, "resume") == "queued"
    assert not renew(database, claimed(database).id, "w").pause


def test_resume_takes_back_a_pause_that_has_not_happened(database: Database, user: User) -> None:
    id = add(database, user)
    claimed(database)
    queue.wish(database, id, "pause")
    queue.wish(database, id, "resume")
    assert not renew(database, id, "w").pause


def test_a_waiting_job_is_paused_and_cancelled_without_a_worker(database: Database, user: User) -> None:
    id = add(database, user)
    assert queue.wish(database, id, "pause") == "paused"
    with pytest.raises(InputError, match="nothing to keep"):
        queue.wish(database, id, "stop")
    assert queue.wish(database, id, "cancel") == "cancelled"
    with pytest.raises(InputError, match="cancelled"):
        queue.wish(database, id, "resume")
    with pytest.raises(UnknownName):
        queue.wish(database, id, "explode")


def test_a_paused_training_can_be_stopped_and_kept(database: Database, user: User) -> None:
    id = add(database, user)
    claimed(database)
    finish(database, id, "w", "paused")
    assert queue.wish(database, id, "stop") == "queued"
    assert renew(database, claimed(database).id, "w") == Wishes(stop=True)


def test_a_job_that_is_handed_back_keeps_its_place(database: Database, user: User) -> None:
    first, _ = add(database, user, 1), add(database, user, 2)
    claimed(database)
    hand_back(database, first, "w")
    again = claimed(database)
    assert (again.id, again.attempts) == (first, 1)


def test_one_user_with_many_jobs_does_not_hold_up_another(database: Database, users: Callable[[str], User]) -> None:
    ann, bob = users("ann"), users("bob")
    for number in range(5):
        add(database, ann, number)
    add(database, bob, 100)
    add(database, bob, 101)
    order = [claimed(database).payload["number"] for _ in range(7)]
    assert order.index(100) <= 2
    assert order.index(101) <= 4
    assert [number for number in order if number < 100] == [0, 1, 2, 3, 4]


def test_users_take_turns_also_while_jobs_run(database: Database, users: Callable[[str], User]) -> None:
    ann, bob = users("ann"), users("bob")
    for number in range(4):
        add(database, ann, number)
    claimed(database), claimed(database)
    add(database, bob, 100)
    assert {claimed(database).payload["number"] for _ in range(2)} == {2, 100}


def test_moving_a_job_changes_the_order_of_its_owners_jobs_alone(
    database: Database, users: Callable[[str], User]
) -> None:
    ann, bob = users("ann"), users("bob")
    ids = [add(database, ann, number) for number in range(3)]
    other = add(database, bob, 100)
    before = job(database, other).position
    queue.move(database, ids[2], ids[0])
    assert job(database, other).position == before
    with pytest.raises(InputError, match="another user's"):
        queue.move(database, ids[2], other)
    queue.move(database, ids[0], None)
    order = [claimed(database).payload["number"] for _ in range(4)]
    assert [number for number in order if number < 100] == [2, 1, 0]


def test_an_admin_moves_any_job(database: Database, users: Callable[[str], User]) -> None:
    first, second = add(database, users("ann"), 1), add(database, users("bob"), 2)
    queue.move(database, second, first, everyone=True)
    assert [claimed(database).id for _ in range(2)] == [second, first]
    with pytest.raises(InputError, match="does not wait"):
        queue.move(database, first, None)


def test_kinds_are_claimed_apart(database: Database, user: User) -> None:
    add(database, user, kind="learn")
    paint = add(database, user, kind="paint")
    assert claimed(database, kinds=("paint", "look")).id == paint
    assert claim(database, worker="w", kinds=("paint",)) is None
    with pytest.raises(UnknownName, match="kind of job"):
        add(database, user, kind="dance")


def test_a_key_adds_one_job(database: Database, users: Callable[[str], User]) -> None:
    ann, bob = users("ann"), users("bob")
    first = add(database, ann, 1, key="k")
    assert add(database, ann, 1, key="k") == first
    assert add(database, bob, 1, key="k") != first
    with pytest.raises(InputError, match="belongs to another job"):
        add(database, ann, 2, key="k")


def test_the_same_keys_from_many_connections_at_once_add_each_job_once(database: Database, user: User) -> None:
    def add_all() -> None:
        for number in range(10):
            add(database, user, number, key=str(number))

    with ThreadPoolExecutor(4) as pool:
        for each in [pool.submit(add_all) for _ in range(4)]:
            each.result(30)
    with database.reading() as session:
        assert sorted(int(key) for key in session.scalars(select(Job.key)) if key) == list(range(10))


def test_a_quota_of_jobs(database: Database) -> None:
    ann = create_user(database, "ann", most_jobs=2)
    first, second = add(database, ann), add(database, ann)
    with pytest.raises(QuotaExceeded, match="may have 2"):
        add(database, ann)
    queue.wish(database, second, "pause")
    with pytest.raises(QuotaExceeded):  # a paused job counts, or pausing would lift the quota
        add(database, ann)
    queue.wish(database, first, "cancel")
    add(database, ann)


def test_a_quota_of_seconds_counts_a_day(database: Database) -> None:
    ann = create_user(database, "ann", most_seconds=100)
    add(database, ann)
    taken = claimed(database)
    with database.session() as session:
        running = session.merge(taken)
        running.claimed = now() - timedelta(seconds=99)
    add(database, ann)
    with database.session() as session:
        session.merge(taken).claimed = now() - timedelta(seconds=101)
    with pytest.raises(QuotaExceeded, match="within 24 hours"):  # also while it runs
        add(database, ann)
    finish(database, taken.id, "w", "done")
    assert job(database, taken.id).seconds > 100
    with pytest.raises(QuotaExceeded):
        add(database, ann)
    with database.session() as session:
        session.merge(taken).ended = now() - timedelta(hours=25)
    add(database, ann)


def test_a_disabled_user_adds_nothing(database: Database, user: User) -> None:
    set_disabled(database, "ann", True)
    with pytest.raises(InputError, match="is disabled"):
        add(database, user)
    with pytest.raises(InputError, match="does not exist"):
        submit(database, owner="0" * 32, kind="paint", payload={})


def talk(database: Database, owner: User, *conversations: str) -> list[str]:
    """Add a sentence to each of these conversations."""
    about = {"owner": owner.id, "kind": "converse"}
    return [submit(database, payload={"conversation": name, "words": "hello"}, **about) for name in conversations]


def test_the_sentences_of_a_conversation_are_answered_one_after_the_other(database: Database, user: User) -> None:
    first, second, elsewhere = talk(database, user, "a" * 32, "a" * 32, "b" * 32)
    assert claimed(database).id == first
    assert claimed(database).id == elsewhere
    assert claim(database, worker="other") is None
    finish(database, first, "w", "done")
    assert claimed(database).id == second


def test_two_workers_at_once_answer_a_conversation_once(database: Database, user: User) -> None:
    with database.session() as session:
        session.add(Conversation(id="a" * 32, owner_id=user.id))
    sentences = talk(database, user, *["a" * 32] * 4)
    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(lambda k: claim(database, worker=f"w{k}"), range(4)))
    assert [job.id for job in taken if job is not None] == sentences[:1]
