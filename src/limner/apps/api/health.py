"""Health checks and metrics, for the operator of the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response

from limner import __version__

from .config import is_loopback
from .errors import ApiError

if TYPE_CHECKING:
    from .services import Services

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def show_health() -> dict[str, Any]:
    """The process answers."""
    return {"ok": True, "version": __version__}


@router.get("/readyz")
def show_readiness(request: Request) -> dict[str, Any]:
    """The database answers, and the server takes work; 503 otherwise."""
    services: Services = request.app.state.services
    if services.stopping.is_set():
        raise ApiError(503, "stopping", "the server is stopping")
    try:
        with services.database.reading() as session:
            session.execute(text("SELECT 1"))
    except SQLAlchemyError as error:
        raise ApiError(503, "no_database", "the database does not answer") from error
    if services.workers is not None and not services.workers.are_alive:
        raise ApiError(503, "no_worker", "a worker of this process has ended; restart the server")
    return {"ok": True}


@router.get("/metrics", include_in_schema=False)
def show_metrics(request: Request) -> Response:
    """The metrics, for an administrator, and for a program on the same machine."""
    user = getattr(request.state, "user", None)
    address = request.client.host if request.client else ""
    forwarded = any(name in request.headers for name in ("forwarded", "x-forwarded-for", "x-real-ip"))
    if not (user is not None and user.role == "admin") and (forwarded or not is_loopback(address)):
        raise ApiError(403, "forbidden", "metrics are for administrators, and for programs on this machine")
    services: Services = request.app.state.services
    return Response(services.metrics.text(services.database, services.painter), media_type=CONTENT_TYPE_LATEST)
