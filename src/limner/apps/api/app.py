"""The studio's server as an ASGI application. Creating it loads neither torch nor a base."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import import_module

import structlog
from fastapi import Depends, FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.types import Message, Receive, Scope, Send

from limner import __version__

from . import auth, docs_page, health
from .auth import Authentication
from .config import Config
from .errors import add_error_handlers, failure_response
from .guard import KnownHosts, check_form_token
from .headers import SecurityHeaders
from .idempotency import Idempotency
from .images import routes as images
from .limits import BodyLimits
from .logs import set_up_logs
from .middleware import HttpMiddleware
from .routes import (
    boards,
    concepts,
    conversations,
    jobs,
    methods,
    photos,
    pictures,
    references,
    scores,
    subjects,
    users,
)
from .services import Services, close_services, open_services
from .uploads import close_form

MODULES = (
    *(health, docs_page, images, subjects, references, concepts, jobs, pictures, boards, scores, users, conversations),
    *(methods, photos),
)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
log = structlog.get_logger("limner.api")


def create_app(config: Config, *, services: Callable[[Config], Services] = open_services) -> FastAPI:
    """The application with its routes and pages. Database, files and worker open when it starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.services = services(config)
        try:
            yield
        finally:
            await run_in_threadpool(close_services, app.state.services)

    app = FastAPI(
        title="limner",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(check_form_token)],
    )
    app.state.config = config
    set_up_logs(quiet=config.quiet)
    add_error_handlers(app)
    for module in MODULES:
        app.include_router(module.router)
    _mount_pages(app)
    app.include_router(auth.router)
    # the last one added meets a request first
    app.add_middleware(Idempotency)
    app.add_middleware(Authentication)
    app.add_middleware(BodyLimits, limits=config.limits)
    app.add_middleware(KnownHosts, config=config)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(Observed)
    return app


def _mount_pages(app: FastAPI) -> None:
    """Add the studio's pages, by name: the API stands below them and does not import them."""
    import_module("limner.apps.studio.pages").mount_studio(app)


class Observed(HttpMiddleware):
    """Log and count each answer, and answer a request at which the server fails."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        start, status = time.perf_counter(), 0
        first = 0.0

        async def watch(message: Message) -> None:
            nonlocal status, first
            if message["type"] == "http.response.start":
                status, first = message["status"], time.perf_counter() - start
            await send(message)

        try:
            await self.app(scope, receive, watch)
        except Exception as error:
            # any fault of any route: the log has the traceback, and the client gets its id
            response = failure_response(scope, error)
            if not status:
                await response(scope, receive, watch)
        finally:
            await close_form(scope)
            _note(scope, status, first)


def _method(scope: Scope) -> str:
    """The method of a request as a label: a client may send any word, and each label takes memory for good."""
    return scope["method"] if scope["method"] in METHODS else "other"


def _note(scope: Scope, status: int, seconds: float) -> None:
    services: Services = scope["app"].state.services
    route = getattr(scope.get("route"), "path", "none")
    services.metrics.requests.labels(_method(scope), route, str(status)).inc()
    services.metrics.seconds.labels(route).observe(seconds)
    path = scope["path"]
    if path.startswith("/static/") or path in ("/healthz", "/readyz", "/metrics"):
        return
    user = scope.get("state", {}).get("user")
    log.info(
        "request",
        method=scope["method"],
        path=path[:500],
        status=status,
        ms=round(seconds * 1000, 1),
        user=user.name if user is not None else None,
        address=(scope.get("client") or ("",))[0],
    )
