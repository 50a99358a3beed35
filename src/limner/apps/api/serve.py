"""Running the server: its socket, and an end that loses no work."""

from __future__ import annotations

import errno
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn

from limner.core.files import why_not
from limner.errors import InputError

from .app import create_app
from .connections import HEAD_BYTES, timed_protocol
from .services import warm_up

if TYPE_CHECKING:
    from .config import Config

GRACE = 5.0  # seconds for answers that are being sent when the server is told to end


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `InputError` where the address cannot be listened on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), port), family=family, backlog=2048)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            text = f"another program listens on port {port}; choose another one with --port, or end that program"
            raise InputError(text) from error
        raise InputError(f"{host} port {port} cannot be listened on: {why_not(error)}") from error


def serve(config: Config, *, ready: Callable[[str], object]) -> None:
    """Serve until the process is told to end (Ctrl-C, SIGTERM). A running training is then checkpointed and handed
    back to the queue. `ready` is called with the address once requests are answered."""
    with listen(config.host, config.port) as listening:
        port = listening.getsockname()[1]
        server = make_server(config, lambda: ready(config.address_at(port)))
        server.run(sockets=[listening])


def make_server(config: Config, ready: Callable[[], object]) -> StudioServer:
    """The server of a configuration."""
    settings = uvicorn.Config(
        create_app(config),
        http=timed_protocol(config.limits.head_seconds),
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=config.behind_proxy,
        forwarded_allow_ips="127.0.0.1,::1" if config.behind_proxy else "",
        limit_concurrency=config.limits.connections,
        h11_max_incomplete_event_size=HEAD_BYTES,
        timeout_graceful_shutdown=round(GRACE),
    )
    return StudioServer(settings, ready)


class StudioServer(uvicorn.Server):
    """A server that tells its event streams and its worker to end as soon as it is told itself."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], object]) -> None:
        super().__init__(config)
        self.ready = ready
        self.warming: Timer | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and not self.should_exit:
            self.ready()
            self.warming = warm_up()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        app: Any = self.config.app
        services = getattr(app.state, "services", None)
        if services is not None:
            services.stopping.set()
        if self.warming is not None:
            self.warming.cancel()
        super().handle_exit(sig, frame)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals while serving. An end that was asked for is a success, so no signal is raised again."""
        try:
            before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # signals are handled in the main thread alone
            yield
            return
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
