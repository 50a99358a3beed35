"""Running the server: its socket, slow connections, and an end that loses no work."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from limner.core.files import why_not
from limner.errors import InputError

from .app import create_app
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
        http=_protocol(config.limits.head_seconds),
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=config.behind_proxy,
        forwarded_allow_ips="127.0.0.1,::1" if config.behind_proxy else "",
        limit_concurrency=config.limits.connections,
        h11_max_incomplete_event_size=64_000,
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


def _protocol(head_seconds: float) -> type[asyncio.Protocol]:
    """uvicorn's protocol, which in addition closes a connection whose client takes too long to send a request's line
    and headers: uvicorn waits for them without an end."""

    class Timed(H11Protocol):
        timer: asyncio.TimerHandle | None = None

        # uvicorn, too, narrows the type of the transport
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._wait()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._is_idle():
                # a part of a request's head has come, and the first part sets the timer
                self._wait()
            else:
                self._stop()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop()
            super().connection_lost(exc)

        def _is_idle(self) -> bool:
            return self.cycle is None or self.cycle.response_complete

        def _wait(self) -> None:
            if self.timer is None:
                self.timer = self.loop.call_later(head_seconds, self._give_up)

        def _stop(self) -> None:
            if self.timer is not None:
                self.timer.cancel()
                self.timer = None

        def _give_up(self) -> None:
            self.timer = None
            if self._is_idle() and not self.transport.is_closing():
                self.transport.close()

    return Timed
