"""Health checks for whoever runs the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from sqlalchemy import text

from limner import __version__

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
    except Exception as error:
        raise ApiError(503, "no_database", "the database does not answer") from error
    if services.workers is not None and not services.workers.are_alive:
        raise ApiError(503, "no_worker", "a worker of this process has ended; restart the server")
    return {"ok": True}
