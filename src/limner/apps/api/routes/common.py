"""Helpers that routes share: finding rows that a user may see, storing files, notes for the audit, pages of a list."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import Depends, Query, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from limner.apps.jobs import access, uploads
from limner.apps.jobs.access import T
from limner.apps.jobs.audit import audit
from limner.apps.jobs.payloads import check_payload
from limner.apps.jobs.queue import submit
from limner.apps.jobs.tables import User

from ..auth import require_admin, user_of
from ..headers import FILE_POLICY
from ..services import Services


def services_of(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


Work = Annotated[Services, Depends(services_of)]
Me = Annotated[User, Depends(user_of)]
Admin = Annotated[User, Depends(require_admin)]
Limit = Annotated[int, Query(ge=1, le=500, description="most rows of the answer")]


def find_own(session: Session, table: type[T], number: str, user: User) -> T:
    """A row that the user may change. Raises `NotFound` for one that is missing, deleted or another user's."""
    row = find_visible(session, table, number, user)
    access.demand_change(user, row)
    return row


def find_visible(session: Session, table: type[T], number: str, user: User) -> T:
    """A row that the user may see: an own one, or a concept that is shared. Raises `NotFound` for any other."""
    return access.find(session, user, table, number)


def store(services: Services, user: User, data: bytes, media_type: str) -> str:
    """Store a file for a user and return its SHA-256. Raises `QuotaExceeded` where it does not fit."""
    return uploads.store(services.database, services.files, data, owner=user.id, media_type=media_type)


def add_job(services: Services, user: User, kind: str, payload: dict[str, Any]) -> str:
    """Check a payload, add its job to the queue and return the job's id. Raises `InputError` for a payload that cannot
    be read, `NotFound` for a thing that the user may not see, and `QuotaExceeded`."""
    with services.database.reading() as session:
        about: Any = {"bases": (services.config.base,), "networks": services.config.networks, "files": services.files}
        checked = check_payload(session, user, kind, payload, **about)
    return submit(services.database, owner=user.id, kind=kind, payload=checked)


def address_of(request: Request) -> str:
    """The client's network address."""
    return request.client.host if request.client else ""


def note(session: Session, request: Request, action: str, about: str = "", **detail: Any) -> None:
    """Add a line to the audit."""
    audit(session, request.state.user.id, action, about, address=address_of(request), **detail)


def file_response(
    data: bytes, media_type: str, *, filename: str = "", headers: Mapping[str, str] | None = None
) -> Response:
    """A stored file as an answer, which a browser shows without running anything in it. A file with a name is saved."""
    about: dict[str, str] = {"Content-Security-Policy": FILE_POLICY, **(headers or {})}
    if filename:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "_", filename)[:100] or "file"
        about["Content-Disposition"] = f'attachment; filename="{plain}"'
    return Response(data, media_type=media_type, headers=about)


def picture_kind(data: bytes) -> Literal["image/png", "image/jpeg", "image/webp", "application/octet-stream"]:
    """Media type of a picture by its first bytes; a browser shows no other kind."""
    if data.startswith(b"\x89PNG"):
        return "image/png"
    if data.startswith(b"\xff\xd8"):
        return "image/jpeg"
    return "image/webp" if data[8:12] == b"WEBP" else "application/octet-stream"
