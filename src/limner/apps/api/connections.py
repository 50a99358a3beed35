"""Connections: a request that cannot be read gets a clear answer, as does one whose head comes too slowly."""

from __future__ import annotations

import asyncio
import json
import sys

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from .errors import ApiError, error_body

HEAD_BYTES = 64_000
"""Largest line and headers of a request."""
LINGER_SECONDS = 5.0
"""Seconds for which bytes of a refused request are read and dropped after its answer. A socket that is closed with
unread bytes resets the connection, and its client may lose the answer."""


def timed_protocol(head_seconds: float) -> type[asyncio.Protocol]:
    """uvicorn's protocol with two additions: a client that takes longer than `head_seconds` to send a request's line
    and headers is answered 408, where uvicorn waits without an end; and bytes that are no request of HTTP/1.1 are
    answered by a status and words of their own, before the connection is closed."""

    class Timed(H11Protocol):
        timer: asyncio.TimerHandle | None = None
        lingers = False  # whether the last answer was sent, and what still comes is dropped

        # uvicorn, too, narrows the type of the transport
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._wait()

        def data_received(self, data: bytes) -> None:
            if self.lingers:
                return
            super().data_received(data)
            if self.lingers:
                return
            if self._is_idle():
                # a part of a request's head has come, and the first part sets the timer
                self._wait()
            else:
                self._stop()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop()
            super().connection_lost(exc)

        def send_400_response(self, msg: str) -> None:
            """Answer bytes that are no request; uvicorn calls this while it handles h11's error."""
            error = sys.exception()
            status = error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else 400
            self._refuse(_unreadable(status, self.conn.trailing_data[0]))

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
            if not self._is_idle() or self.transport.is_closing():
                return
            if self.conn.our_state is h11.IDLE and self.conn.trailing_data[0]:
                text = f"the request's line and headers did not come within {head_seconds:g} s; send it again"
                self._refuse(ApiError(408, "too_slow", text))
            else:  # a connection that is kept alive without a request
                self.transport.close()

        def _refuse(self, error: ApiError) -> None:
            """Send an answer, and close the connection after it."""
            if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
                self.transport.close()  # another answer is on its way
                return
            body = json.dumps(error_body(error)).encode()
            headers = [
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(body))),
                ("Connection", "close"),
                ("Cache-Control", "no-store"),
            ]
            head = h11.Response(status_code=error.status, headers=headers)
            for event in (head, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
            self._linger()

        def _linger(self) -> None:
            """Tell the client that no more comes, and drop what it still sends until it closes, too."""
            self.lingers = True
            self._stop()
            self.flow.resume_reading()
            if self.transport.can_write_eof():
                self.transport.write_eof()
            self.timer = self.loop.call_later(LINGER_SECONDS, self.transport.close)

    return Timed


def _unreadable(status: int, received: bytes) -> ApiError:
    """The answer to bytes that are no request.

    status: h11's hint
    received: bytes that were not read as a request yet
    """
    if status == 431 and b"\n" not in received:
        return ApiError(414, "address_too_long", f"the address is too long; at most {HEAD_BYTES:,} bytes are read")
    if status == 431:
        return ApiError(431, "head_too_large", f"the headers are too large; at most {HEAD_BYTES:,} bytes are read")
    text = "these bytes are no request of HTTP/1.1: its line, its headers or the lengths in its body are wrong"
    return ApiError(400, "malformed", text)
