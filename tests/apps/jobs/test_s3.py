"""The file store in S3, on moto's server; skipped where s3fs or moto is not installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import limner
from limner.apps.jobs.database import Database
from limner.apps.jobs.files import Files, open_files
from limner.apps.jobs.queue import submit
from limner.apps.jobs.tables import Concept, Picture, Reference, Subject, User
from limner.apps.jobs.uploads import store, sweep
from limner.apps.jobs.worker import Worker
from limner.core.subject import Subject as Toy
from limner.errors import FileError

from .test_worker import job, rows
from .workflows import PIXEL

WHY = "s3fs and moto are not installed: the store in S3 was not tested (pip install s3fs 'moto[server]')"
pytest.importorskip("s3fs", reason=WHY)
moto = pytest.importorskip("moto.server", reason=WHY)


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The URL of an empty bucket on a server of this machine, which the environment names."""
    import boto3

    server = moto.ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "AWS_CA_BUNDLE"):
            patch.delenv(name, raising=False)
        boto3.client("s3").create_bucket(Bucket="limner")
        yield "s3://limner"
    server.stop()


@pytest.fixture
def shared(bucket: str, tmp_path: Path) -> Files:
    return open_files(f"{bucket}/{tmp_path.name}", copies=tmp_path / "copies")


def test_content_is_stored_read_and_deleted(shared: Files, tmp_path: Path) -> None:
    sha256 = shared.put(b"content")
    large = tmp_path / "large"
    large.write_bytes(bytes(12_000_000))  # in several parts
    other = shared.put_file(large)
    assert (shared.read(sha256), shared.size(other)) == (b"content", 12_000_000)
    assert shared.local(other).read_bytes() == bytes(12_000_000)
    assert sorted(shared.all()) == sorted([sha256, other])
    assert shared.put(b"content") == sha256
    shared.delete(sha256)
    shared.delete(sha256)
    assert not shared.has(sha256)
    with pytest.raises(FileError, match="missing"):
        shared.read(sha256)


def test_what_another_machine_stores_is_seen_at_once(shared: Files, bucket: str, tmp_path: Path) -> None:
    import boto3

    first = shared.put(b"first")
    assert list(shared.all()) == [first]  # lists the folder
    elsewhere = f"{first[:2]}/{'0' * 62}"
    boto3.client("s3").put_object(Bucket="limner", Key=f"{tmp_path.name}/{elsewhere}", Body=b"damaged")
    damaged = first[:2] + "0" * 62
    assert shared.has(damaged)
    assert len(list(shared.all())) == 2
    assert list(shared.verify()) == [damaged]
    with pytest.raises(FileError, match="damaged"):
        shared.local(damaged)


def test_a_toy_is_taught_and_painted_by_workers_that_share_a_bucket(
    shared: Files, bucket: str, database: Database, user: User, base: Any, rex: Toy, tmp_path: Path
) -> None:
    sent = [
        store(database, shared, png(picture.image), owner=user.id, media_type="image/png") for picture in rex.pictures
    ]
    with database.session() as session:
        pictures = [Reference(sha256=sha256, position=k) for k, sha256 in enumerate(sent)]
        subject = Subject(owner_id=user.id, name="rex", noun="dog", pictures=pictures)
        session.add(subject)
        session.flush()
        number = subject.id

    def machine(name: str) -> Worker:
        files = open_files(f"{bucket}/{tmp_path.name}", copies=tmp_path / f"copies-{name}")
        return Worker(database, files, name=name, data=tmp_path / name, open_base=lambda choice: base, shares=True)

    settings = {"steps": 2, "batch": 1}
    payload = {"subject": number, "method": "textual_inversion", "settings": settings, "score": False, "check": False}
    taught = submit(database, owner=user.id, kind="learn", payload=payload)
    assert machine("one").step()
    assert job(database, taught).state == "done", job(database, taught).failure
    (concept,) = rows(database, Concept)
    wanted = {"prompts": ["<rex> on the beach"], "concepts": [{"id": concept.id, "scale": 1.0}], "seed": 1, "steps": 2}
    painted = submit(database, owner=user.id, kind="paint", payload=wanted)
    assert machine("two").step()  # which has none of the first one's files
    assert job(database, painted).state == "done", job(database, painted).failure
    (picture,) = [row for row in rows(database, Picture) if row.purpose == "gallery"]
    assert shared.read(picture.sha256).startswith(PIXEL[:8])
    again = limner.paint(
        base, "<rex> on the beach", concepts=[shared.local(concept.sha256, ".safetensors")], seed=1,
        settings=limner.PaintSettings(steps=2),
    )[0]  # fmt: skip
    from PIL import Image

    assert Image.open(shared.local(picture.sha256, ".png")).convert("RGB").tobytes() == again.image.tobytes()
    assert sweep(database, shared) == []
    assert not shared.verify()


def png(image: Any) -> bytes:
    import io

    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
