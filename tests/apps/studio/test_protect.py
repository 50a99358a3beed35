"""The page on which photos are protected, and the files of such a job."""

from __future__ import annotations

import io
import zipfile

from limner.apps.jobs.tables import Job, new_id
from limner.workflows.protect_request import NO_GUARANTEE

from .conftest import Studio, Two


def test_the_page_says_that_protection_is_no_guarantee(studio: Studio) -> None:
    page = studio.get("/teach/{subject}/protect").text
    assert NO_GUARANTEE[1:] in page
    assert 'href="/teach/{subject}/protect"'.format(**studio.ids) in studio.get("/teach/{subject}").text


def test_photos_are_sent_to_be_protected(studio: Studio) -> None:
    answer = studio.post("/teach/{subject}/protect", {"method": "photoguard", "epsilon": "12"})
    job = studio.last_job()
    assert answer.headers["location"] == f"/jobs/{job.id}"
    assert job.kind == "protect"
    assert job.payload == {"subject": studio.ids["subject"], "method": "photoguard", "settings": {"epsilon": 12.0}}
    studio.post("/teach/{subject}/protect", {"method": "mist", "epsilon": ""})
    assert "settings" not in studio.last_job().payload
    for form in ({"method": "dreambooth"}, {"method": "mist", "epsilon": "500"}):
        assert studio.post("/teach/{subject}/protect", form).status_code in (400, 404)


def test_the_copies_are_fetched_one_by_one_or_as_a_zip(two: Two) -> None:
    contents = {"a.png": b"first copy", "b.png": b"second copy"}
    with two.services.database.session() as session:
        owner = session.get_one(Job, two.ids["learn"]).owner_id
    hashes = [two.services.files.put(data) for data in contents.values()]
    files = [{"name": name, "sha256": sha256, "bytes": 9} for name, sha256 in zip(contents, hashes, strict=True)]
    job = Job(id=new_id(), owner_id=owner, kind="protect", state="done", payload={})
    job.result = {"files": files, "warning": NO_GUARANTEE}
    number = job.id
    with two.services.database.session() as session:
        session.add(job)
    ann, bob = two.clients["ann"], two.clients["bob"]
    page = ann.get(f"/jobs/{number}").text
    assert f"/jobs/{number}/files" in page
    assert NO_GUARANTEE[1:] in page
    with zipfile.ZipFile(io.BytesIO(ann.get(f"/jobs/{number}/files").content)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == contents
    assert ann.get(f"/jobs/{number}/files/1").content == b"second copy"
    assert bob.get(f"/jobs/{number}/files").status_code == 404
    assert ann.get(f"/jobs/{two.ids['learn']}/files").status_code == 404
