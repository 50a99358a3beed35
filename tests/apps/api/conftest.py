"""A server without login, and one with three users; pictures are painted by a painter of flat colours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from limner.apps.api.app import create_app
from limner.apps.api.auth import hash_token, new_token
from limner.apps.api.config import Config, Limits
from limner.apps.api.services import Services
from limner.apps.jobs.tables import Token, User

ADDRESS = "http://127.0.0.1:7860"


@dataclass
class Server:
    """A running application, its services, and a client for each user."""

    app: Any
    services: Services
    anybody: TestClient
    clients: dict[str, TestClient]
    tokens: dict[str, str]

    def __getattr__(self, name: str) -> TestClient:
        return self.clients[name]


def add_user(services: Services, name: str, *, role: str = "member", **more: Any) -> str:
    """Add a user and return a token of theirs."""
    token = new_token()
    with services.database.session() as session:
        user = User(name=name, role=role, **more)
        session.add(user)
        session.flush()
        session.add(Token(user_id=user.id, sha256=hash_token(token), label="test"))
    return token


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., TestClient]]:
    """Start servers without workers; each setting of `Config` can be given."""
    clients: list[TestClient] = []

    def begin(**more: Any) -> TestClient:
        config = Config(**{"data": tmp_path / "data", "workers": 0, "quiet": True, **more})
        client = TestClient(create_app(config), base_url=ADDRESS)
        client.__enter__()
        clients.append(client)
        return client

    yield begin
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(start: Callable[..., TestClient]) -> TestClient:
    """A client of a server without login."""
    return start()


@pytest.fixture
def server(start: Callable[..., TestClient]) -> Server:
    """A server with an administrator, and the members ann and bob."""
    anybody = start(login="tokens")
    services: Services = anybody.app.state.services  # type: ignore[attr-defined]
    tokens = {name: add_user(services, name, role="admin" if name == "root" else "member") for name in NAMES}
    clients = {
        name: TestClient(anybody.app, base_url=ADDRESS, headers={"Authorization": f"Bearer {token}"})
        for name, token in tokens.items()
    }
    return Server(anybody.app, services, anybody, clients, tokens)


NAMES = ("root", "ann", "bob")


@pytest.fixture
def tight() -> Limits:
    """Limits that a test can reach."""
    return Limits(json_bytes=2_000, body_bytes=20_000, burst=5, requests_per_second=0.1, failed_logins=3)
