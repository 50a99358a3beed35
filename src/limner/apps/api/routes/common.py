"""Helpers that routes share: finding rows that a user may see, storing files, notes for the audit, pages of a list."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from fastapi import Depends, Query, Request
from sqlalchemy import or_, select
from sqlalchemy.orm import Session
from starlette.responses import Response

from limner.apps.jobs.quotas import check_bytes
from limner.apps.jobs.tables import Audit, Concept, File, Share, User

from ..auth import require_admin, user_of
from ..errors import not_found
from ..headers import FILE_POLICY
from ..services import Services

T = TypeVar("T")
ID = re.compile(r"[0-9a-f]{32}")


def services_of(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


Work = Annotated[Services, Depends(services_of)]
Me = Annotated[User, Depends(user_of)]
Admin = Annotated[User, Depends(require_admin)]
Limit = Annotated[int, Query(ge=1, le=500, description="most rows of the answer")]


def find_own(session: Session, table: type[T], number: str, user: User, noun: str) -> T:
    """A row of the user. Raises `ApiError` 404 for one that is missing, deleted or another user's, which read alike."""
    row: Any = session.get(table, number) if ID.fullmatch(number) else None
    if row is None or row.owner_id != user.id or getattr(row, "deleted", None) is not None:
        raise not_found(noun)
    found: T = row
    return found


def visible_concepts(user: User) -> Any:
    """A condition: concepts that the user owns, or that are shared with the user."""
    shared = select(Share.concept_id).where(Share.user_id == user.id)
    return Concept.deleted.is_(None) & or_(Concept.owner_id == user.id, Concept.id.in_(shared))


def find_concept(session: Session, number: str, user: User) -> Concept:
    """A concept that the user owns, or that is shared with the user. Raises `ApiError` 404 for any other."""
    wanted = select(Concept).where(Concept.id == number, visible_concepts(user))
    row = session.scalar(wanted) if ID.fullmatch(number) else None
    if row is None:
        raise not_found("concept")
    return row


def store(services: Services, user: User, data: bytes, media_type: str) -> str:
    """Store a file for a user and return its SHA-256. Raises `QuotaExceeded` where it does not fit."""
    with services.database.reading() as session:
        check_bytes(session, user, len(data))
    sha256: str = services.files.put(data)
    with services.database.session() as session:
        if session.get(File, sha256) is None:
            session.add(File(sha256=sha256, num_bytes=len(data), media_type=media_type, owner_id=user.id))
    return sha256


def note(session: Session, request: Request, action: str, about: str = "", **detail: Any) -> None:
    """Add a line to the audit."""
    address = request.client.host if request.client else ""
    user: User = request.state.user
    session.add(Audit(user_id=user.id, action=action, about=about, detail=detail, address=address[:64]))


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
