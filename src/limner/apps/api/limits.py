"""Limits of requests: their rate, the bytes of their bodies, and the time that a client may take."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .config import Limits
from .connections import LINGER_SECONDS
from .errors import ApiError, error_response
from .middleware import HttpMiddleware

MOST_BUCKETS = 10_000


class Buckets:
    """A token bucket for each name: `burst` requests at once, `per_second` over a long time."""

    def __init__(self, per_second: float, burst: float) -> None:
        self.per_second, self.burst = per_second, burst
        self.levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str, *, cost: float = 1.0) -> float:
        """Take from the bucket. Returns 0, or the seconds until there is enough in it."""
        now = time.monotonic()
        level, then = self.levels.pop(name, (self.burst, now))
        level = min(self.burst, level + (now - then) * self.per_second)
        wait = 0.0 if level >= cost else (cost - level) / self.per_second
        self.levels[name] = (level if wait else level - cost, now)
        if len(self.levels) > MOST_BUCKETS:
            self.levels.popitem(last=False)
        return wait

    def is_empty(self, name: str) -> bool:
        """Whether nothing is left in the bucket; takes nothing."""
        level, then = self.levels.get(name, (self.burst, time.monotonic()))
        return level + (time.monotonic() - then) * self.per_second < 1


def check_rate(buckets: Buckets, name: str) -> None:
    """Raise `ApiError` where too many requests came."""
    if wait := buckets.take(name):
        headers = {"Retry-After": str(max(1, round(wait)))}
        raise ApiError(429, "rate_limit", f"too many requests; try again in {max(1, round(wait))} s", headers=headers)


class BodyLimits(HttpMiddleware):
    """Refuse bodies that are too large or come too slowly, also those that do not say their length; and give up on
    clients that do not take their answer."""

    def __init__(self, app: ASGIApp, *, limits: Limits) -> None:
        super().__init__(app)
        self.limits = limits

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            most = self._most(Headers(scope=scope), scope["path"])
        except ApiError as error:
            await refuse(scope, error, receive, send)
            return
        await _Exchange(self.limits, most, scope, receive, send).run(self.app)

    def _most(self, headers: Headers, path: str) -> int:
        """Bytes that the body may have. Raises `ApiError` for a length beyond it."""
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        uploads = kind.startswith(("multipart/", "image/")) or kind == "application/octet-stream"
        most = self.limits.body_bytes if uploads else self.limits.json_bytes
        if uploads and path.startswith("/api/concepts"):
            most = max(most, self.limits.concept_bytes + 1_000_000)
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit():
            raise ApiError(400, "invalid_length", "Content-Length must be a whole number")
        if len(length) > 18 or int(length) > most:
            raise too_large(most)
        return most


def too_large(most: int) -> ApiError:
    return ApiError(413, "too_large", f"the body is too large; at most {most:,} bytes are read", headers=CLOSE)


CLOSE = {"Connection": "close"}
"""Header of an answer that leaves a part of the request unread."""


async def refuse(scope: Scope, error: ApiError, receive: Receive | None, send: Send) -> None:
    """Answer a request without its body, then read and drop the rest of that for a while before the connection is
    closed: most clients send all of a body before they read the answer.

    receive: gives the rest of the body; None where it was read
    """

    async def hold(message: Message) -> None:
        if receive is None or message["type"] != "http.response.body" or message.get("more_body", False):
            await send(message)
            return
        await send({**message, "more_body": True})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while (part := await receive())["type"] == "http.request" and part.get("more_body", False):
                    pass
        await send({"type": "http.response.body", "body": b""})

    await error_response(scope, error)(scope, _nothing, hold)


async def _nothing() -> Message:
    return {"type": "http.request", "body": b""}


class _Exchange:
    """One request and its answer, watched while they are transferred."""

    def __init__(self, limits: Limits, most: int, scope: Scope, receive: Receive, send: Send) -> None:
        self.limits, self.most, self.scope = limits, most, scope
        self.inner_receive, self.inner_send = receive, send
        self.start, self.read, self.complete, self.answering = time.monotonic(), 0, False, False

    async def run(self, app: ASGIApp) -> None:
        try:
            await app(self.scope, self.receive, self.send)
        except _TooLarge as error:
            if not self.answering:
                receive = None if self.complete else self.inner_receive
                await refuse(self.scope, error.answer, receive, self.inner_send)
        except _ClientGone:
            return

    async def receive(self) -> Message:
        if self.complete:
            return await self.inner_receive()
        try:
            message = await asyncio.wait_for(self.inner_receive(), self.limits.idle_seconds)
        except TimeoutError:
            raise self._too_slow() from None
        if message["type"] == "http.request":
            self.read += len(message.get("body", b""))
            self.complete = not message.get("more_body", False)
            if self.read > self.most:
                raise _TooLarge(too_large(self.most))
            spent = time.monotonic() - self.start - self.limits.idle_seconds
            if not self.complete and spent > 0 and self.read < spent * self.limits.slowest_bytes_per_second:
                raise self._too_slow()
        return message

    def _too_slow(self) -> _TooLarge:
        text = "the request came too slowly; send it again over a faster connection"
        return _TooLarge(ApiError(408, "too_slow", text, headers=CLOSE))

    async def send(self, message: Message) -> None:
        self.answering = True
        try:
            await asyncio.wait_for(self.inner_send(message), self.limits.idle_seconds * 3)
        except TimeoutError:
            raise _ClientGone from None


class _TooLarge(BaseException):
    """Passes through the handlers of routes, which catch exceptions, up to the limits."""

    def __init__(self, answer: ApiError) -> None:
        super().__init__(str(answer))
        self.answer = answer


class _ClientGone(BaseException):
    pass
