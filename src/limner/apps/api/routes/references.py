"""/api/subjects/ID/pictures: one reference image of a subject, its caption and its mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.responses import Response

from limner.apps.jobs.tables import Reference, Subject, User
from limner.errors import InputError

from ..errors import not_found
from ..fields import Caption, Fields, Record
from ..thumbnails import thumbnail
from ..uploads import read_form
from .common import Me, Work, file_response, find_own, picture_kind, store
from .records import reference_record
from .subjects import read_picture

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from ..services import Services

router = APIRouter(prefix="/api/subjects", tags=["subjects"])


class PictureChange(Fields):
    """Fields of a reference image to change."""

    caption: Caption | None = None
    in_training: bool | None = None
    position: Annotated[int, Field(ge=0, lt=10_000)] | None = None


def _find(session: Session, number: str, picture: str, me: User) -> Reference:
    subject = find_own(session, Subject, number, me)
    row = next((each for each in subject.pictures if each.id == picture), None)
    if row is None:
        raise not_found("picture of the subject")
    return row


@router.patch("/{number}/pictures/{picture}")
def change_picture(number: str, picture: str, change: PictureChange, work: Work, me: Me) -> Record:
    """Change a picture's caption, its place, or whether it is learned from."""
    with work.database.session() as session:
        row = _find(session, number, picture, me)
        for name, value in change.model_dump(exclude_none=True).items():
            setattr(row, name, value)
        return reference_record(row)


@router.delete("/{number}/pictures/{picture}")
def delete_picture(number: str, picture: str, work: Work, me: Me) -> Record:
    """Remove a picture from a subject."""
    with work.database.session() as session:
        subject = find_own(session, Subject, number, me)
        subject.pictures.remove(_find(session, number, picture, me))
        return {"deleted": picture}


@router.get("/{number}/pictures/{picture}/content")
def show_picture(number: str, picture: str, work: Work, me: Me) -> Response:
    """The picture's file as it was sent."""
    with work.database.reading() as session:
        row = _find(session, number, picture, me)
    data = work.files.read(row.sha256)
    kind = picture_kind(data)
    return file_response(data, kind, filename="" if kind.startswith("image/") else row.filename or "picture")


@router.get("/{number}/pictures/{picture}/thumbnail")
def show_thumbnail(number: str, picture: str, work: Work, me: Me, size: int = 256) -> Response:
    """The picture reduced to fit into a square of `size` pixels, upright."""
    with work.database.reading() as session:
        row = _find(session, number, picture, me)
    return thumbnail(work, row.sha256, size)


@router.get("/{number}/pictures/{picture}/mask")
def show_mask(number: str, picture: str, work: Work, me: Me) -> Response:
    """The picture's mask, white where the subject is."""
    with work.database.reading() as session:
        row = _find(session, number, picture, me)
    if not row.mask:
        raise not_found("mask")
    data = work.files.read(row.mask)
    return file_response(data, picture_kind(data))


@router.put("/{number}/pictures/{picture}/mask")
async def replace_mask(number: str, picture: str, request: Request, work: Work, me: Me) -> Record:
    """Set the picture's mask, the file `mask` of a multipart form."""
    file = (await read_form(request)).get("mask")
    if not isinstance(file, UploadFile):
        raise InputError("send the mask as a file in the field mask, white where the subject is")
    upload = await read_picture(file, work.config.limits, mask=True)
    return await run_in_threadpool(_set_mask, number, picture, work, me, upload.data)


def _set_mask(number: str, picture: str, work: Services, me: User, data: bytes) -> Record:
    sha256 = store(work, me, data, picture_kind(data)) if data else ""
    with work.database.session() as session:
        row = _find(session, number, picture, me)
        row.mask = sha256
        return reference_record(row)


@router.delete("/{number}/pictures/{picture}/mask")
def delete_mask(number: str, picture: str, work: Work, me: Me) -> Record:
    """Remove the picture's mask."""
    return _set_mask(number, picture, work, me, b"")
