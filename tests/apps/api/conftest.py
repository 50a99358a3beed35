"""A server without login, and one with three users; pictures are painted by a painter of flat colours."""

from __future__ import annotations

import io
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from PIL import Image
from starlette.testclient import TestClient

from limner.apps.api.app import create_app
from limner.apps.api.config import Config, Limits
from limner.apps.api.serve import StudioServer, listen, make_server
from limner.apps.api.services import Services
from limner.apps.jobs.counters import Counters
from limner.apps.jobs.gather import Painted, PaintOrder
from limner.apps.jobs.partials import Partials
from limner.apps.jobs.tables import Concept
from limner.apps.jobs.users import create_token, create_user, user_named
from limner.core.picture import Picture

ADDRESS = "http://127.0.0.1:7860"


@contextmanager
def running(config: Config) -> Iterator[tuple[str, StudioServer, Services]]:
    """A server that runs in a thread: its address, the server, its services."""
    up = threading.Event()
    server = make_server(config, up.set)
    with listen("127.0.0.1", 0) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        assert up.wait(20)
        services = server.config.app.state.services  # type: ignore[union-attr]
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}", server, services
        finally:
            server.handle_exit(signal.SIGTERM, None)
            thread.join(20)
            assert not thread.is_alive()


def add_learned(services: Services, concept: Any, folder: Path) -> str:
    """Add a concept that was learned, of the server's one user; return its id."""
    about = {"handle": concept.handle, "noun": concept.subject["noun"], "method": concept.method, "base": "pocket"}
    about |= {"kind": concept.subject["kind"], "name": concept.handle.strip("<>")}
    file = concept.save(folder / f"{about['name']}.safetensors")
    with services.database.session() as session:
        header = {"method": concept.method, "subject": concept.subject}
        sha256 = services.files.put_file(file)
        assert services.me is not None
        row = Concept(owner_id=services.me.id, sha256=sha256, header=header, **about)
        session.add(row)
        session.flush()
        return row.id


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
    user = create_user(services.database, name, role=role, **more)
    return create_token(services.database, user.id)


class FlatPainter:
    """Paints squares of one colour, at once, and remembers the orders."""

    hot = None
    num_waiting = 0
    cache: ClassVar[dict[str, int]] = {"hits": 0}

    def __init__(self) -> None:
        self.counters = Counters()
        self.orders: list[PaintOrder] = []
        self.fails: Exception | None = None

    def submit(self, order: PaintOrder, *, partials: Partials | None = None) -> Future[Painted]:
        self.orders.append(order)
        future: Future[Painted] = Future()
        if partials is not None:
            for number in range(min(partials.count, order.steps - 1)):
                partials.take(number, Image.new("RGB", (64, 64), (order.seed % 256, number, 0)))
        if self.fails is not None:
            future.set_exception(self.fails)
            return future
        image = Image.new("RGB", (64, 64), (order.seed % 256, 80, 160))
        settings = {"steps": order.steps, "guidance": order.guidance, "negative": order.negative}
        picture = Picture(image, order.prompt, order.seed, (), "pocket", settings)
        future.set_result(Painted(picture, 0.001, 0.01, 1))
        return future

    def close(self, **_: Any) -> None:
        """Nothing waits."""


def png(color: str = "red", size: tuple[int, int] = (64, 64), mode: str = "RGB") -> bytes:
    """A PNG of one colour."""
    buffer = io.BytesIO()
    Image.new(mode, size, color).save(buffer, "PNG")
    return buffer.getvalue()


def add_concept(services: Services, owner: str, name: str = "rex", *, noun: str = "dog", **more: Any) -> str:
    """Add a concept of a user, by name, whose file is not a real one; return its id."""
    with services.database.session() as session:
        user = user_named(session, owner)
        data = f"concept {name} of {owner}".encode()
        row = Concept(
            owner_id=user.id,
            name=name,
            **{"handle": f"<{name}>", "noun": noun, "base": "pocket", "method": "lora_dreambooth", **more},
            sha256=services.files.put(data),
            num_bytes=len(data),
        )
        session.add(row)
        session.flush()
        return row.id


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., TestClient]]:
    """Start servers without workers; each setting of `Config` can be given."""
    clients: list[TestClient] = []

    def begin(**more: Any) -> TestClient:
        config = Config(**{"data": tmp_path / "data", "workers": 0, "quiet": True, **more})
        client = TestClient(create_app(config), base_url=ADDRESS)
        client.__enter__()
        client.app.state.services.painter = FlatPainter()  # type: ignore[attr-defined]
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
