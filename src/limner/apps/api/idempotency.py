"""Idempotency keys: a POST that is sent again with the same key gets the same answer, and the work is done once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import anyio
from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from limner.apps.jobs.tables import Answer, now
from limner.apps.jobs.uploads import add_file

from .errors import ApiError, error_response
from .middleware import HttpMiddleware

if TYPE_CHECKING:
    from .services import Services

HEADER = "idempotency-key"
DAYS = 1  # for which an answer is kept
ABANDONED = timedelta(minutes=15)  # after which an answer that was begun counts as lost with its server
INLINE = 32_000  # bytes of the largest body that the database holds itself; others lie in the file store
NOT_STORED = (401, 403, 408, 421, 429)


class Idempotency(HttpMiddleware):
    """Store the answers of POSTs with an idempotency key, by user and path."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers, user = Headers(scope=scope), scope.get("state", {}).get("user")
        repeats = scope["method"] == "POST" and HEADER in headers and scope["path"] not in ("/login", "/logout")
        if not repeats or user is None:
            await self.app(scope, receive, send)
            return
        services: Services = scope["app"].state.services
        try:
            key = checked_key(headers[HEADER])
            body = await _whole(receive)
            # off the loop that serves everyone: a large body takes seconds
            sha256 = await anyio.to_thread.run_sync(request_hash, headers, scope, body)
            exchange = _Exchange(services, user.id, scope["path"][:128], key, sha256)
            stored = await anyio.to_thread.run_sync(exchange.begin)
        except ApiError as error:
            await error_response(scope, error)(scope, receive, send)
            return
        if stored is not None:
            await stored(scope, receive, send)
            return
        await exchange.run(self.app, scope, body, receive, send)


def checked_key(key: str) -> str:
    if not 1 <= len(key) <= 128 or not key.isprintable():
        raise ApiError(400, "invalid_key", "an idempotency key has 1 to 128 printable characters")
    return key


async def _whole(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ApiError(400, "incomplete", "the request ended before its body was complete")
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def request_hash(headers: Headers, scope: Scope, body: bytes) -> str:
    """SHA-256 of the query and the body. A form's boundary differs each time that it is sent, and does not count."""
    kind, _, rest = headers.get("content-type", "").partition(";")
    if "boundary=" in rest:
        boundary = rest.partition("boundary=")[2].partition(";")[0].strip().strip('"').encode()
        # a short boundary may be every byte of the body, which would then grow eightfold
        body = body.replace(boundary, b"boundary") if len(boundary) >= len(b"boundary") else body
    digest = hashlib.sha256(kind.encode() + b"\0" + scope.get("query_string", b"") + b"\0")
    digest.update(body)
    return digest.hexdigest()


@dataclass
class _Exchange:
    """One request with a key, and its answer while it is sent."""

    services: Services
    user_id: str
    route: str
    key: str
    sha256: str
    start: Message | None = None
    parts: list[bytes] = field(default_factory=list)

    def begin(self) -> Response | None:
        """The stored answer; None where this request is the first, which is noted. Raises `ApiError` 409 for another
        request with the key, and while the first is being answered."""
        with self.services.database.session() as session:
            session.execute(delete(Answer).where(Answer.created < now() - timedelta(days=DAYS)))
            row = session.scalar(select(Answer).where(*self._of_key()))
            if row is not None and row.status == 0 and row.created < now() - ABANDONED:
                session.delete(row)
                session.flush()
                row = None
            if row is None:
                self._claim(session)
                return None
            if row.request_sha256 != self.sha256:
                text = "this idempotency key belongs to another request; use a new key for a new request"
                raise ApiError(409, "key_in_use", text)
            if row.status == 0:
                text = "the request with this idempotency key is being answered; try again"
                raise ApiError(409, "in_progress", text, headers={"Retry-After": "2"})
            return self._stored(row)

    def _claim(self, session: Any) -> None:
        row = Answer(owner_id=self.user_id, route=self.route, key=self.key, request_sha256=self.sha256, status=0)
        session.add(row)
        try:
            session.flush()
        except IntegrityError as error:
            raise ApiError(409, "in_progress", "a request with this idempotency key is being answered") from error

    def _stored(self, row: Answer) -> Response:
        about = row.body
        data = self.services.files.read(about["file"]) if "file" in about else str(about["text"]).encode()
        response = Response(data, row.status, headers={"Idempotent-Replayed": "true"})
        response.headers["Content-Type"] = about["type"]
        return response

    async def run(self, app: ASGIApp, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        """Answer the request, and store the answer before its end is sent."""
        sent = False

        async def again() -> Message:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def watch(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.start = message
            elif message["type"] == "http.response.body":
                self.parts.append(message.get("body", b""))
                if not message.get("more_body", False):
                    await anyio.to_thread.run_sync(self.store)
            await send(message)

        try:
            await app(scope, again, watch)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self.forget)
            raise

    def store(self) -> None:
        """Store a complete answer. Those of a failing server, and refusals that time or a login ends, are forgotten."""
        assert self.start is not None
        status = self.start["status"]
        if status >= 500 or status in NOT_STORED:
            self.forget()
            return
        data = b"".join(self.parts)
        kind = Headers(raw=self.start["headers"]).get("content-type", "application/octet-stream")
        about = {"type": kind, **self._content(data)}
        with self.services.database.session() as session:
            row = session.scalar(select(Answer).where(*self._mine()))
            if row is not None:
                row.status, row.body = status, about

    def _content(self, data: bytes) -> dict[str, Any]:
        text = data.decode("utf-8", "replace")
        if len(data) <= INLINE and text.encode() == data and "\0" not in text:
            return {"text": text}
        # the row of the file lets the sweep of old files delete it a day after it was stored
        sha256 = hashlib.sha256(data).hexdigest()
        with self.services.database.session() as session:
            add_file(session, sha256, len(data), owner=self.user_id, media_type="application/json", counted=False)
        return {"file": self.services.files.put(data)}

    def forget(self) -> None:
        with self.services.database.session() as session:
            session.execute(delete(Answer).where(*self._mine()))

    def _of_key(self) -> tuple[Any, ...]:
        return Answer.owner_id == self.user_id, Answer.route == self.route, Answer.key == self.key

    def _mine(self) -> tuple[Any, ...]:
        return *self._of_key(), Answer.request_sha256 == self.sha256
