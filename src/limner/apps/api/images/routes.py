"""The routes of OpenAI's images API, and SGLang's list of loaded adapters."""

from __future__ import annotations

import io
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request
from PIL import Image
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.responses import JSONResponse, Response, StreamingResponse

from limner.apps.jobs.access import visible
from limner.apps.jobs.tables import Concept, Picture, User
from limner.errors import InputError, LimnerError

from ..errors import ApiError, as_api_error, error_body, failure_response
from ..fields import Record
from ..routes.common import Me, Work, file_response, find_own, picture_kind, store
from ..uploads import decode_picture, read_form, read_upload
from .answers import MEDIA, Answered, Partial, answer, encoded, partial_event, stream_event, zipped
from .fields import Edit, Generation, check_fields, read_edit
from .naming import find_named, model_name
from .painting import Plan, paint, plan

router = APIRouter(prefix="/v1", tags=["OpenAI's images API"])
EDIT = {"requestBody": {"content": {"multipart/form-data": {"schema": {
    "type": "object",
    "properties": {
        **Edit.model_json_schema()["properties"],
        "image": {"type": "string", "format": "binary"},
        "mask": {"type": "string", "format": "binary", "description": "transparent where the picture may change"},
    },
    "required": ["image", "prompt"],
}}}}}  # fmt: skip


# --------------------------------------------------------------------------------------------------------------- models


@router.get("/models")
def list_models(work: Work, me: Me) -> Record:
    """The base, the user's concepts and those shared with the user."""
    wanted = visible(Concept, me).join(User, User.id == Concept.owner_id).add_columns(User.name)
    with work.database.reading() as session:
        rows = session.execute(wanted.order_by(Concept.created)).all()
    return {"object": "list", "data": [_base(work), *(_model(row, me, owner) for row, owner in rows)]}


def _base(work: Any) -> Record:
    return {
        "id": work.config.base.name,
        "object": "model",
        "created": int(work.started),
        "owned_by": "limner",
        "kind": "base",
    }


def _model(row: Concept, me: User, owner: str) -> Record:
    return {
        "id": model_name(row, me, owner),
        "object": "model",
        "created": int(row.created.timestamp()),
        "owned_by": owner,
        "kind": "concept",
        "concept": row.id,
        "handle": row.handle,
        "noun": row.noun,
        "parent": row.base,
    }


@router.get("/models/{name:path}")
def show_model(name: str, work: Work, me: Me) -> Record:
    """The base or a concept by its name."""
    if name == work.config.base.name:
        return _base(work)
    with work.database.reading() as session:
        row = find_named(session, name[:200], me, work.config.base.name)
        owner = session.get_one(User, row.owner_id).name
    return _model(row, me, owner)


@router.get("/list_loras")
def list_loras(work: Work, me: Me) -> Record:
    """The concepts of the user that are in memory, as SGLang lists them; a request's own concepts are active alone."""
    hot = work.hot_files()
    wanted = visible(Concept, me).join(User, User.id == Concept.owner_id).add_columns(User.name)
    with work.database.reading() as session:
        rows = [(row, owner) for row, owner in session.execute(wanted) if row.sha256 in hot]
    loaded = [{"nickname": model_name(row, me, owner), "path": row.id} for row, owner in rows]
    return {"loaded_adapters": loaded, "active": []}


# ------------------------------------------------------------------------------------------------------------- pictures


@router.post("/images/generations", response_model=None)
async def generate_images(
    request: Request, work: Work, me: Me, fields: Annotated[Generation, Body()]
) -> Record | Response:
    """Paint pictures of a prompt. `model` is the base or a concept, `lora` further concepts with their strengths."""
    check_fields(fields)
    planned = await run_in_threadpool(plan, work, me, fields)
    return await _answer(request, work, planned, "generation", [])


@router.post("/images/edits", openapi_extra=EDIT, response_model=None)
async def edit_image(request: Request, work: Work, me: Me) -> Record | Response:
    """Change a picture: within its mask, or all of it."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise ApiError(400, "invalid_form", "send a multipart form with the picture as the file image")
    form = await read_form(request)
    fields = read_edit(form)
    check_fields(fields)
    image, mask = await _files(form, work)
    canvas, where = await run_in_threadpool(_stored, work, me, image, mask)
    planned = await run_in_threadpool(lambda: plan(work, me, fields, canvas=canvas, mask=where))
    return await _answer(request, work, planned, "edit", [image])


async def _files(form: FormData, work: Any) -> tuple[Image.Image, Image.Image | None]:
    """The picture, and its mask, white where the picture may change."""
    limits = work.config.limits
    images = [file for name in ("image", "image[]") for file in form.getlist(name) if isinstance(file, UploadFile)]
    masks = [file for name in ("mask", "mask_image") for file in form.getlist(name) if isinstance(file, UploadFile)]
    if not images:
        raise ApiError(400, "missing_image", "send the picture as the file image", param="image")
    if len(images) > 1:
        text = (
            f"one picture is changed at a time, not {len(images)}; to paint a thing that pictures show, teach it first "
            "(POST /api/subjects) and name its concept as model"
        )
        raise ApiError(400, "too_many_images", text, param="image")
    if len(masks) > 1:
        raise ApiError(400, "too_many_masks", "send one mask", param="mask")
    data = await read_upload(images[0], limits)
    picture = await run_in_threadpool(decode_picture, data, images[0].filename or "image", limits)
    if not masks:
        # as OpenAI's API has it, a picture's own transparency is its mask
        return picture.image, _inverted(picture.opaque) if picture.opaque else None
    data = await read_upload(masks[0], limits)
    mask = await run_in_threadpool(decode_picture, data, masks[0].filename or "mask", limits)
    where = _inverted(mask.opaque) if mask.opaque else mask.image.convert("L")
    if where.size != picture.image.size:
        text = f"the mask has {where.size[0]}x{where.size[1]} pixels, the picture {picture.image.size[0]}x{picture.image.size[1]}; make them equal"
        raise ApiError(400, "mask_size", text, param="mask")
    if where.getextrema() == (0, 0):
        text = "the mask marks nothing: it must be transparent, or white, where the picture may change"
        raise ApiError(400, "empty_mask", text, param="mask")
    return picture.image, where


def _inverted(opaque: Image.Image) -> Image.Image:
    """White where a picture is transparent."""
    return opaque.point(lambda value: 255 - value)


def _stored(work: Any, me: User, image: Image.Image, mask: Image.Image | None) -> tuple[str, str]:
    return _store(work, me, image), _store(work, me, mask) if mask is not None else ""


def _store(work: Any, me: User, image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return store(work, me, buffer.getvalue(), "image/png")


async def _answer(
    request: Request, work: Any, planned: Plan, kind: str, inputs: list[Image.Image]
) -> Record | Response:
    fields, created = planned.fields, int(time.time())
    if fields.stream:
        messages = _stream(request, work, planned, kind, inputs, created)
        return StreamingResponse(messages, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
    pictures = [picture async for picture in paint(request, work, planned) if isinstance(picture, Answered)]
    if not pictures:
        raise InputError("no picture was painted")
    if fields.response_format == "file":
        return await run_in_threadpool(_file, pictures, fields)
    address = str(request.base_url)
    body = await run_in_threadpool(lambda: answer(fields, pictures, created=created, address=address, inputs=inputs))
    return JSONResponse(body)


def _file(pictures: list[Answered], fields: Generation) -> Response:
    if len(pictures) == 1:
        return file_response(encoded(pictures[0], fields), MEDIA[fields.output_format or "png"])
    return file_response(zipped(pictures, fields), "application/zip", filename="images.zip")


async def _stream(
    request: Request, work: Any, planned: Plan, kind: str, inputs: list[Image.Image], created: int
) -> AsyncIterator[str]:
    """Server-sent events: partial pictures while they are painted, each picture when it is done, or the error; then
    [DONE]."""
    index, num_partials = 0, Counter[int]()
    try:
        async for picture in paint(request, work, planned):
            about: dict[str, Any] = {"created": created}
            if isinstance(picture, Partial):
                event = await run_in_threadpool(partial_event, kind, planned.fields, picture, **about)
                num_partials[picture.index] += 1
            else:
                about |= {"inputs": inputs, "num_partials": num_partials[index]}
                event = await run_in_threadpool(stream_event, kind, planned.fields, picture, index, **about)
                index += 1
            yield f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
    except LimnerError as error:
        yield f"event: error\ndata: {json.dumps({'type': 'error', **error_body(as_api_error(error))})}\n\n"
    except Exception as error:
        # the status is sent already: the log has the traceback, and the client gets its id
        body = bytes(failure_response(request.scope, error).body).decode()
        yield f"event: error\ndata: {body}\n\n"
    yield "data: [DONE]\n\n"


@router.get("/images/{number}/content")
def show_content(number: str, work: Work, me: Me) -> Response:
    """A picture that the user painted."""
    with work.database.reading() as session:
        sha256 = find_own(session, Picture, number, me).sha256
    data = work.files.read(sha256)
    return file_response(data, picture_kind(data))
