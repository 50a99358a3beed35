"""Servers of the studio without workers: one without login, one with two users; each with a row of everything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import select
from starlette.testclient import TestClient

from limner.apps.api.app import create_app
from limner.apps.api.config import Config
from limner.apps.api.services import Services
from limner.apps.jobs.tables import Concept, Job, new_id
from limner.apps.jobs.users import create_token, create_user

from .rows import HOSTILE, fill, png

ADDRESS = "http://127.0.0.1:7860"


@dataclass
class Studio:
    """A server, a client of it, and the ids of its rows by name."""

    client: TestClient
    services: Services
    ids: dict[str, str]

    def get(self, path: str, **more: Any) -> Any:
        return self.client.get(path.format(**self.ids), **more)

    def post(self, path: str, data: dict[str, Any] | None = None, **more: Any) -> Any:
        """Send a form as a browser without scripts does; redirects are not followed."""
        token = more.pop("token", None) or form_token(self.client)
        return self.client.post(
            path.format(**self.ids), data={"form_token": token, **(data or {})}, follow_redirects=False, **more
        )

    def last_job(self) -> Job:
        with self.services.database.reading() as session:
            job = session.scalars(select(Job).order_by(Job.created.desc())).first()
            assert job is not None
            session.expunge_all()
            return job

    def row(self, table: type[Any], number: str) -> Any:
        with self.services.database.reading() as session:
            row = session.get(table, number)
            session.expunge_all()
            return row

    def give(self, **about: str) -> str:
        """Upload two photos; return the new subject's id."""
        files = [
            ("photos", ("a b.png", png("#123456"), "image/png")),
            ("photos", ("../../c.jpg", png("#654321"), "image/png")),
        ]
        answer = self.post("/teach", {"name": "bo", "noun": "cat", "kind": "pet", **about}, files=files)
        assert answer.status_code == 303, answer.text
        return str(answer.headers["location"]).rpartition("/")[2]

    def copy_concept(self, number: str) -> str:
        """Add an older concept of the same handle; return its id."""
        with self.services.database.session() as session:
            first = session.get_one(Concept, number)
            names = ("owner_id", "name", "handle", "noun", "method", "base", "sha256", "num_bytes", "header")
            older = Concept(id=new_id(), created=first.created - timedelta(1), **{n: getattr(first, n) for n in names})
            session.add(older)
            return older.id


def form_token(client: TestClient) -> str:
    page = client.get("/settings").text
    return page.partition('name="form_token" value="')[2].partition('"')[0]


def open_server(folder: Path, **more: Any) -> TestClient:
    config = Config(**{"data": folder, "workers": 0, "quiet": True, **more})
    # a browser sends the header Origin, and so is asked for the form's token
    return TestClient(create_app(config), base_url=ADDRESS, headers={"Origin": ADDRESS})


def services_of(client: TestClient) -> Services:
    assert isinstance(client.app, FastAPI)
    services: Services = client.app.state.services
    return services


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A server without login whose rows hold hostile texts wherever people write."""
    with open_server(tmp_path_factory.mktemp("studio")) as client:
        services = services_of(client)
        assert services.me is not None
        yield Studio(client, services, fill(services, services.me, words=HOSTILE))


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A server without login and without a row."""
    with open_server(tmp_path_factory.mktemp("empty")) as client:
        yield client


@dataclass
class Two:
    """A server with login: ann, who has a row of everything, bob, who has none, and root, an administrator."""

    anybody: TestClient
    services: Services
    clients: dict[str, TestClient]
    ids: dict[str, str]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    with open_server(tmp_path_factory.mktemp("two"), login="tokens") as anybody:
        services = services_of(anybody)
        clients, users = {}, {}
        for name in ("ann", "bob", "root"):
            users[name] = create_user(services.database, name, role="admin" if name == "root" else "member")
            secret = create_token(services.database, users[name].id)
            clients[name] = TestClient(
                anybody.app, base_url=ADDRESS, headers={"Authorization": f"Bearer {secret}", "Origin": ADDRESS}
            )
        yield Two(anybody, services, clients, fill(services, users["ann"]))
