"""StyleDrop's second round in the studio: its pictures are shown, and the training goes on with those that are
ticked."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from sqlalchemy import select

import limner
from limner.apps.jobs.database import Database
from limner.apps.jobs.files import Files
from limner.apps.jobs.queue import submit
from limner.apps.jobs.tables import Concept, Job, JobEvent, Picture, Reference, Subject, User
from limner.apps.jobs.uploads import store
from limner.apps.jobs.wishes import choose
from limner.apps.jobs.worker import Worker
from limner.methods import methods
from tests.helpers import fast, style


def add_style(database: Database, files: Files, user: User) -> str:
    """The id of a style with one photo and its caption."""
    (picture,) = style(count=1).pictures
    assert picture.image is not None
    buffer = io.BytesIO()
    picture.image.save(buffer, "PNG")
    sha256 = store(database, files, buffer.getvalue(), owner=user.id, media_type="image/png")
    with database.session() as session:
        photos = [Reference(sha256=sha256, caption=picture.caption)]
        row = Subject(owner_id=user.id, name="sty", noun="watercolour style", kind="style", pictures=photos)
        session.add(row)
        session.flush()
        return row.id


def test_a_person_chooses_for_the_second_round(
    database: Database, files: Files, user: User, base: Any, tmp_path: Path
) -> None:
    settings = fast(methods()["styledrop"], choose="page")
    payload = {"subject": add_style(database, files, user), "method": "styledrop", "settings": settings}
    quick = {"score": False, "check": False, "preview": 0, "states": 0}
    id = submit(database, owner=user.id, kind="learn", payload={**payload, **quick})
    worker = Worker(database, files, name="w", data=tmp_path / "w", open_base=lambda _: base)
    assert worker.step()
    with database.reading() as session:
        job = session.get_one(Job, id)
        assert (job.state, job.failure) == ("paused", "")
        question = job.progress["choice"]
        prompts = [session.get_one(Picture, each).prompt for each in question["pictures"]]
    assert (len(prompts), question["keep"]) == (settings["pictures"], settings["chosen"])
    assert prompts[0] == "a dog in <sty>"
    choose(database, id, [1, 3])
    assert worker.step()
    with database.reading() as session:
        job, (concept,) = session.get_one(Job, id), session.scalars(select(Concept)).all()
        assert (job.state, job.failure) == ("done", "")
        wanted = select(JobEvent).where(JobEvent.job_id == id).order_by(JobEvent.id)
        updates = [row.record["stage"] for row in session.scalars(wanted) if row.record["event"] == "update_done"]
    assert updates == [0, 0, 1, 1]  # the first round was not trained again
    file = tmp_path / "sty.safetensors"
    files.copy_to(concept.sha256, file)
    assert limner.Concept.load(file).settings["choose"] == "page"
