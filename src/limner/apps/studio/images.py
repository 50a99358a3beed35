"""Pictures, photos and masks as a browser shows them: whole, or small as WebP."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from limner.apps.api.errors import not_found
from limner.apps.api.routes.common import file_response, find_own, picture_kind
from limner.apps.api.thumbnails import thumbnail
from limner.apps.jobs.access import ID
from limner.apps.jobs.tables import Reference, Subject

from .reports import mask_of, matched
from .rows import visible_picture
from .view import reading, user_of

router = APIRouter(include_in_schema=False)
SMALL = 512
"""Pixels of the longer side of a small picture: a plate of 240 on a screen of two pixels for each."""
CACHE = {"Cache-Control": "private, max-age=86400, immutable"}
"""A picture's content never changes under its id."""


@router.get("/pictures/{picture_id}/small")
def small_picture(request: Request, picture_id: str) -> Response:
    with reading(request) as session:
        sha256 = visible_picture(session, picture_id, user_of(request)).sha256
    return thumbnail(request.app.state.services, sha256, SMALL)


@router.get("/pictures/{picture_id}/whole")
def whole_picture(request: Request, picture_id: str, save: bool = False) -> Response:
    """The picture's file, with its settings in it."""
    with reading(request) as session:
        sha256 = visible_picture(session, picture_id, user_of(request)).sha256
    data = request.app.state.services.files.read(sha256)
    kind = picture_kind(data)
    name = f"{picture_id[:8]}.{kind.rpartition('/')[2]}" if save or not kind.startswith("image/") else ""
    return file_response(data, kind, filename=name, headers=CACHE)


@router.get("/photos/{photo_id}/small")
def small_photo(request: Request, photo_id: str) -> Response:
    return thumbnail(request.app.state.services, photo_of(request, photo_id)[0].sha256, SMALL)


@router.get("/photos/{photo_id}/mask")
def mask_of_photo(request: Request, photo_id: str) -> Response:
    photo, subject = photo_of(request, photo_id)
    mask = next((mask_of(each, report) for each, report in matched(subject) if each.id == photo.id), "")
    if not mask:
        raise not_found("mask")
    return thumbnail(request.app.state.services, mask, SMALL)


def photo_of(request: Request, photo_id: str) -> tuple[Reference, Subject]:
    """A reference image of one of the user's subjects, and the subject."""
    with reading(request) as session:
        photo = session.get(Reference, photo_id) if ID.fullmatch(photo_id) else None
        if photo is None:
            raise not_found("photo")
        return photo, find_own(session, Subject, photo.subject_id, user_of(request))
