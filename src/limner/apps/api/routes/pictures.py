"""/api/pictures: the gallery, and pictures that a client sends to paint with."""

from __future__ import annotations

import io
import json
from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy import Text, cast, or_, select
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.responses import Response

from limner.apps.jobs import retention
from limner.apps.jobs.access import visible
from limner.apps.jobs.tables import BoardPicture, Picture, User
from limner.core.untrusted import MAX_CAPTION, parse_json
from limner.errors import FileError, InputError

from ..fields import Fields, Record, Word
from ..thumbnails import thumbnail
from ..uploads import check_picture, read_form, read_upload
from .common import Limit, Me, Work, file_response, find_own, picture_kind, store
from .records import picture_record

router = APIRouter(prefix="/api/pictures", tags=["pictures"])
UPLOAD = {"requestBody": {"content": {"multipart/form-data": {"schema": {
    "type": "object", "properties": {"picture": {"type": "string", "format": "binary"}}, "required": ["picture"],
}}}}}  # fmt: skip
IMMUTABLE = {"Cache-Control": "private, max-age=31536000, immutable"}


class PictureChange(Fields):
    """Fields of a picture to change."""

    favourite: bool


@router.get("")
def list_pictures(
    work: Work,
    me: Me,
    search: Word = "",
    favourite: bool = False,
    board: Word = "",
    concept: Word = "",
    job: Word = "",
    purpose: Word = "gallery",
    before: Word = "",
    limit: Limit = 60,
) -> Record:
    """The user's pictures, the newest first. Every word of `search` must stand in the prompt or in the name of a
    concept; `before` is the id of the last picture of the page before."""
    wanted = visible(Picture, me)
    if purpose != "all":
        wanted = wanted.where(Picture.purpose == purpose)
    for word in search.split()[:10]:
        pattern = f"%{_escaped(word)}%"
        in_concepts = cast(Picture.concepts, Text).ilike(pattern, escape="\\")
        wanted = wanted.where(or_(Picture.prompt.ilike(pattern, escape="\\"), in_concepts))
    if favourite:
        wanted = wanted.where(Picture.favourite)
    if board:
        wanted = wanted.where(Picture.id.in_(select(BoardPicture.picture_id).where(BoardPicture.board_id == board)))
    if concept:
        wanted = wanted.where(cast(Picture.concepts, Text).like(f"%{_escaped(concept)}%", escape="\\"))
    if job:
        wanted = wanted.where(Picture.job_id == job)
    with work.database.reading() as session:
        if before:
            wanted = wanted.where(Picture.created < find_own(session, Picture, before, me).created)
        rows = session.scalars(wanted.order_by(Picture.created.desc()).limit(limit)).all()
        return {"pictures": [picture_record(row) for row in rows]}


def _escaped(word: str) -> str:
    """A word in which the characters of LIKE's patterns stand for themselves."""
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


@router.post("", status_code=201, openapi_extra=UPLOAD)
async def upload_picture(request: Request, work: Work, me: Me) -> Record:
    """Store a picture to paint with: a canvas, a mask, a condition."""
    data = await _uploaded(request, work)
    return await run_in_threadpool(_store, work, me, data)


def _store(work: Any, me: User, data: bytes) -> Record:
    sha256 = store(work, me, data, picture_kind(data))
    with work.database.session() as session:
        row = Picture(owner_id=me.id, sha256=sha256, purpose="upload")
        session.add(row)
        session.flush()
        return picture_record(row) | {"sha256": sha256}


async def _uploaded(request: Request, work: Any) -> bytes:
    """The bytes of the picture of a form, which can be decoded."""
    file = (await read_form(request)).get("picture")
    if not isinstance(file, UploadFile):
        raise InputError("send the picture as a file in the field picture")
    data = await read_upload(file, work.config.limits)
    upload = await run_in_threadpool(check_picture, data, file.filename or "", work.config.limits)
    return upload.data


@router.post("/metadata", openapi_extra=UPLOAD)
async def read_metadata(request: Request, work: Work, me: Me) -> Record:
    """The settings in a picture that limner painted, to paint with them again."""
    data = await _uploaded(request, work)
    return {"metadata": await run_in_threadpool(metadata_of, data)}


def metadata_of(data: bytes) -> Record:
    """limner's record in a PNG or WebP. Raises `FileError` for a picture without it."""
    from PIL import Image
    from PIL.ExifTags import Base

    with Image.open(io.BytesIO(data), formats=["PNG", "WEBP", "JPEG", "MPO"]) as image:
        text = image.info.get("limner", "") or image.getexif().get(Base.ImageDescription, "")
    if not isinstance(text, str) or not text or len(text) > MAX_CAPTION:
        raise FileError("the picture holds no settings of limner; drop a picture that limner painted")
    record = parse_json(text, "the picture's settings")
    record = record.get("limner", record) if isinstance(record, dict) else {}
    known = ("prompt", "seed", "concepts", "base", "settings")
    if not isinstance(record, dict) or not isinstance(record.get("prompt"), str):
        raise FileError("the picture's settings are not limner's; drop a picture that limner painted")
    settings = {name: record[name] for name in known if name in record}
    try:
        json.dumps(settings, allow_nan=False)
    except ValueError as error:
        raise FileError("the picture's settings hold a number that is not finite; limner did not write them") from error
    return settings


@router.get("/{number}")
def show_picture(number: str, work: Work, me: Me) -> Record:
    """A picture's prompt, seed, settings and scores."""
    with work.database.reading() as session:
        return picture_record(find_own(session, Picture, number, me))


@router.get("/{number}/content")
def show_content(number: str, work: Work, me: Me, download: bool = False) -> Response:
    """The picture's file."""
    with work.database.reading() as session:
        sha256 = find_own(session, Picture, number, me).sha256
    data = work.files.read(sha256)
    kind = picture_kind(data)
    name = f"{number}.{kind.rpartition('/')[2].replace('octet-stream', 'bin')}"
    is_picture = kind.startswith("image/")
    return file_response(data, kind, filename=name if download or not is_picture else "", headers=IMMUTABLE)


@router.get("/{number}/thumbnail")
def show_thumbnail(number: str, work: Work, me: Me, size: int = 256) -> Response:
    """The picture reduced to fit into a square of `size` pixels, as WebP."""
    with work.database.reading() as session:
        sha256 = find_own(session, Picture, number, me).sha256
    return thumbnail(work, sha256, size)


@router.patch("/{number}")
def change_picture(number: str, change: PictureChange, work: Work, me: Me) -> Record:
    """Mark a picture as a favourite, or no longer."""
    with work.database.session() as session:
        row = find_own(session, Picture, number, me)
        row.favourite = change.favourite
        return picture_record(row)


@router.delete("/{number}")
def delete_picture(number: str, work: Work, me: Me) -> Record:
    """Delete a picture."""
    with work.database.session() as session:
        row = find_own(session, Picture, number, me)
        retention.delete_picture(session, row)
        return {"deleted": number}
