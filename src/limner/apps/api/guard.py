"""Where a request comes from: the names that the server answers to, and the pages that may send requests."""

from __future__ import annotations

import hashlib
import hmac
import socket
from urllib.parse import urlsplit

from fastapi import Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from .config import LOOPBACK_NAMES, Config
from .errors import ApiError, error_response
from .middleware import HttpMiddleware
from .uploads import read_form

SAFE = ("GET", "HEAD", "OPTIONS")
FORM_FIELD = "form_token"
FORM_HEADER = "X-Form-Token"
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")
"""Content types that a form of another site can send without the browser asking this server first."""


def allowed_hosts(config: Config) -> frozenset[str]:
    """Names and addresses that the Host header may have. A page of another site whose name was made to lead here (DNS
    rebinding) is refused."""
    names = {*LOOPBACK_NAMES, *config.hosts}
    if config.host in ("0.0.0.0", "::"):
        import psutil

        names |= {socket.gethostname(), socket.getfqdn()}
        names |= {entry.address.partition("%")[0] for each in psutil.net_if_addrs().values() for entry in each}
    else:
        names.add(config.host)
    return frozenset(name.lower().strip("[]") for name in names)


class KnownHosts(HttpMiddleware):
    """Refuse requests to a name that is not this server's."""

    def __init__(self, app: ASGIApp, *, config: Config) -> None:
        super().__init__(app)
        self.known = allowed_hosts(config)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (name := host_name(Headers(scope=scope).get("host", ""))) not in self.known:
            text = f"this server does not answer to the name {name[:100]!r}; start it with --allow-host {name[:100]}"
            await error_response(scope, ApiError(421, "unknown_host", text))(scope, receive, send)
            return
        await self.app(scope, receive, send)


def host_name(header: str) -> str:
    """The name in a Host header, without the port."""
    name = header.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.rpartition(":")[0] if ":" in name else name


def is_from_browser(headers: Headers) -> bool:
    return "sec-fetch-site" in headers or "origin" in headers


def check_origin(scope: Scope) -> None:
    """Raise `ApiError` for a request that changes something and comes from a page of another origin."""
    headers = Headers(scope=scope)
    if scope["method"] in SAFE:
        return
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    same = site in (None, "same-origin", "none")
    if origin is not None:
        parts = urlsplit(origin)
        same = same and parts.scheme in ("http", "https") and parts.netloc.lower() == headers.get("host", "").lower()
    if not same:
        raise ApiError(403, "cross_origin", "a page of another site sent this request; it is refused")


def form_token(request: Request) -> str:
    """The secret of the forms of this login: a field `form_token` of each form, or the header X-Form-Token."""
    secret: bytes = request.app.state.services.secret
    about = f"form:{request.state.user.id}:{getattr(request.state, 'login', '')}"
    return hmac.new(secret, about.encode(), hashlib.sha256).hexdigest()


async def check_form_token(request: Request) -> None:
    """Raise `ApiError` where a browser sends a form, logged in by its cookie or by none, without the form's token.

    Programs name their token in every request, which no page of another site can do; their requests need none.
    """
    if request.method in SAFE or not getattr(request.state, "ambient", False) or request.url.path == "/login":
        return
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    browser = is_from_browser(request.headers)
    if not browser and not getattr(request.state, "login", ""):
        return
    given = request.headers.get(FORM_HEADER, "")
    if not given and kind in FORMS[:2]:
        given = str((await read_form(request)).get(FORM_FIELD, ""))
    if not hmac.compare_digest(given.encode(), form_token(request).encode()):
        raise ApiError(
            403,
            "form_token",
            f"the form's token is missing or old: send the field {FORM_FIELD}, or the header {FORM_HEADER}; reload "
            "the page",
        )
