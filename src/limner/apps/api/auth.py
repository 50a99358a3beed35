"""The user of a request: one user without login on a loopback address, else that of a token or of a browser's login.

A token is "limner_" and 43 random characters (256 bits); the database holds its SHA-256. A browser exchanges a token
for a cookie, a secret of its own that pages cannot read and other sites cannot make it send.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode, urlsplit

import anyio
from fastapi import APIRouter, Request
from sqlalchemy import delete, or_
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from limner.apps.jobs.tables import Token, User, now
from limner.apps.jobs.users import SESSION, SESSION_DAYS, create_token, revoke, user_of_token

from .errors import ApiError, error_response, is_for_programs
from .guard import check_origin
from .limits import check_rate
from .middleware import HttpMiddleware

if TYPE_CHECKING:
    from .services import Services

COOKIE = "limner_login"
OPEN = ("/healthz", "/readyz", "/login", "/metrics", "/favicon.ico")
"""Paths that need no login, beside /static."""
MOST_TARGET = 500
"""Characters of the longest address that a login leads back to."""


class Authentication(HttpMiddleware):
    """Find the user of each request, for `request.state.user`; refuse requests without one, and those of other
    origins and of users that send too many."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        services: Services = scope["app"].state.services
        try:
            await self._authenticate(scope, services)
        except ApiError as error:
            services.metrics.refused.labels(error.code).inc()
            response: Response = error_response(scope, error)
            if error.status == 401 and not is_for_programs(scope["path"]) and scope["method"] in ("GET", "HEAD"):
                response = RedirectResponse(_login_for(scope), 303)
            await response(scope, receive, send)
            return
        await self.app(scope, receive, send)

    async def _authenticate(self, scope: Scope, services: Services) -> None:
        path, state = scope["path"], scope.setdefault("state", {})
        address = (scope.get("client") or ("", 0))[0]
        state["user"], state["ambient"], state["login"] = None, False, ""
        if path.startswith("/static/"):
            return
        check_origin(scope)
        if services.me is not None:
            state["user"], state["ambient"] = services.me, True
        else:
            token, ambient = _given(Headers(scope=scope))
            if token:
                known = await anyio.to_thread.run_sync(user_of_token, services.database, token)
                if known is None:
                    # other users of the address, behind one proxy, still get in by tokens that are valid
                    count_failure(services, address)
                else:
                    state["user"], state["ambient"] = known[0], ambient
                    state["login"] = known[1].id if ambient else ""
        user = state["user"]
        check_rate(services.rates, user.id if user is not None else f"address {address}")
        if user is None and path not in OPEN:
            raise ApiError(
                401,
                "no_login",
                "log in, or send a token that is valid as the header Authorization: Bearer limner_...",
                headers={"WWW-Authenticate": "Bearer"},
            )


def count_failure(services: Services, address: str) -> None:
    """Count a wrong token of an address. Raises `ApiError` where it sent too many."""
    if services.failures.is_empty(address):
        text = "too many wrong tokens came from this address; try again in a minute"
        raise ApiError(429, "too_many_failures", text, headers={"Retry-After": "60"})
    services.failures.take(address)


def _given(headers: Headers) -> tuple[str, bool]:
    """The token of a request, and whether the browser sent it by itself (a cookie)."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip(), False
    return cookie_parser(headers.get("cookie", "")).get(COOKIE, ""), True


def user_of(request: Request) -> User:
    user: User = request.state.user
    return user


def require_admin(request: Request) -> User:
    """The user, who must be an administrator."""
    if request.state.user.role != "admin":
        raise ApiError(403, "forbidden", "this is for administrators")
    return user_of(request)


# ------------------------------------------------------------------------------------------------- a browser's login

router = APIRouter(include_in_schema=False)


@router.get("/login")
def show_login(request: Request) -> Response:
    """The page to log in."""
    if request.app.state.services.me is not None or request.state.user is not None:
        return RedirectResponse("/", 303)
    page: Response = request.app.state.login_page(request, "", 200, _local(request.query_params.get("next", "/")))
    return page


@router.post("/login")
async def log_in(request: Request) -> Response:
    """Exchange a token for a browser's cookie."""
    services: Services = request.app.state.services
    address = request.client.host if request.client else ""
    form = await request.form(max_files=0, max_fields=10)
    token = str(form.get("token", "")).strip()
    known = await anyio.to_thread.run_sync(user_of_token, services.database, token) if token else None
    wants_json = "application/json" in request.headers.get("accept", "")
    target = _local(str(form.get("next", "/")))
    # a cookie's secret opens no further login: revoking the token that it stands on would not reach that one
    if known is None or known[1].label.startswith(SESSION):
        count_failure(services, address)
        text = "this token is not valid"
        if wants_json:
            raise ApiError(401, "invalid_token", text)
        page: Response = request.app.state.login_page(request, text, 401, target)
        return page
    user, token_row = known
    secret = await anyio.to_thread.run_sync(_open_session, services, user.id, token_row.id)
    response: Response = JSONResponse({"user": user.name}) if wants_json else RedirectResponse(target, 303)
    response.set_cookie(
        COOKIE,
        secret,
        max_age=SESSION_DAYS * 86400,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
        path="/",
    )
    return response


def _open_session(services: Services, user_id: str, token_id: str) -> str:
    """A new secret for a browser; the user's logins that are over are deleted."""
    over = or_(Token.revoked.is_not(None), Token.created < now() - timedelta(days=SESSION_DAYS))
    with services.database.session() as session:
        session.execute(delete(Token).where(Token.user_id == user_id, Token.label.startswith(SESSION), over))
    return create_token(services.database, user_id, label=f"{SESSION}{token_id}", by=user_id)


@router.post("/logout")
def log_out(request: Request) -> Response:
    """Revoke the cookie's secret."""
    services: Services = request.app.state.services
    if request.state.login:
        with services.database.session() as session:
            row = session.get(Token, request.state.login)
            if row is not None:
                revoke(session, row)
    response = RedirectResponse("/login", 303)
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return response


def _login_for(scope: Scope) -> str:
    """The address of the page to log in, which leads back to the page that was asked for."""
    query = scope.get("query_string", b"").decode("latin-1")
    target = quote(scope["path"]) + (f"?{query}" if query else "")
    return f"/login?{urlencode({'next': target})}" if _local(target) not in ("/", "/login") else "/login"


def _local(target: str) -> str:
    """A path of this server; anything else, and a very long one, becomes "/". Browsers read a backslash as a slash, and
    drop control characters from an address, so that neither may stand in it."""
    ok = target.startswith("/") and not target.startswith("//") and "\\" not in target and target.isprintable()
    try:
        parts = urlsplit(target)
    except ValueError:
        return "/"
    return target if ok and not parts.scheme and not parts.netloc and len(target) <= MOST_TARGET else "/"
