"""The canvas of the paint page: a picture, and where it may change. The mask comes as a file (the brush makes one), as
a rectangle, or from extending the picture beyond its edges."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData

from limner.core.decoding import decoded
from limner.errors import InputError

from .rows import visible_picture
from .uploading import keep_picture, read_picture
from .view import decimal, reading, text, user_of

if TYPE_CHECKING:
    from PIL import Image

EDGES = ("left", "top", "right", "bottom")
MOST_SIDE = 4096
"""Pixels of the longest side of an extended picture."""


async def canvas_of_form(request: Request, form: FormData) -> dict[str, Any]:
    """`onto`, `where` and `start` of a request to paint; nothing where no picture is chosen."""
    data = await _data_of(request, form, "onto")
    if data is None:
        return {}
    payload: dict[str, Any] = {"start": decimal(form, "start", 0.3, least=0, most=1)}
    by = tuple(decimal(form, f"extend-{edge}", 0, least=0, most=100) / 100 for edge in EDGES)
    if any(by):
        whole, where = await run_in_threadpool(lambda: extended(decoded(data, name="the picture").rgb, by))
        return payload | {"onto": await keep_picture(request, whole), "where": await keep_picture(request, where)}
    return payload | await _masked(request, form, "onto", data)


async def photo_of_form(request: Request, form: FormData, name: str) -> dict[str, str]:
    """The picture of a field, uploaded or from the gallery, and as `where` its mask, a file or a rectangle: fields of a
    payload. Nothing where no picture is chosen."""
    data = await _data_of(request, form, name)
    return await _masked(request, form, name, data) if data is not None else {}


async def _masked(request: Request, form: FormData, name: str, data: bytes) -> dict[str, str]:
    uploaded = bool(getattr(form.get(f"{name}_file"), "filename", ""))
    payload = {name: await keep_picture(request, data) if uploaded else text(form, name, most=32)}
    mask = await read_picture(request, form, "where_file", mask=True)
    box = tuple(
        decimal(form, f"where-{side}", 0, least=0, most=100) / 100 for side in ("left", "top", "width", "height")
    )
    if mask is not None:
        payload["where"] = await keep_picture(request, mask.data)
    elif box[2] and box[3]:
        where = await run_in_threadpool(lambda: rectangle(decoded(data, name="the picture").rgb.size, box))
        payload["where"] = await keep_picture(request, where)
    return payload


async def _data_of(request: Request, form: FormData, name: str) -> bytes | None:
    """The content of a field's uploaded picture, else of the one from the gallery; None where neither is chosen."""
    if upload := await read_picture(request, form, f"{name}_file"):
        return upload.data
    picture_id = text(form, name, most=32)
    return await run_in_threadpool(_bytes_of, request, picture_id) if picture_id else None


def _bytes_of(request: Request, picture_id: str) -> bytes:
    with reading(request) as session:
        sha256 = visible_picture(session, picture_id, user_of(request)).sha256
    data: bytes = request.app.state.services.files.read(sha256)
    return data


def extended(image: Image.Image, by: tuple[float, ...]) -> tuple[bytes, bytes]:
    """The picture on a larger canvas, whose rim repeats its edges, and the mask of the rim; both as PNG.

    by: share of the picture's own side to add at its left, top, right and bottom.
    """
    from PIL import Image

    left, right = round(by[0] * image.width), round(by[2] * image.width)
    top, bottom = round(by[1] * image.height), round(by[3] * image.height)
    size = (image.width + left + right, image.height + top + bottom)
    if max(size) > MOST_SIDE:
        raise InputError(f"the extended picture would have {size[0]} x {size[1]} pixels; at most {MOST_SIDE} a side")
    # the edges are stretched over the rim, so that sampling starts from colours like theirs
    whole = image.resize(size)
    across = image.resize((size[0], image.height))
    whole.paste(across, (0, top))
    whole.paste(image.resize((image.width, size[1])), (left, 0))
    whole.paste(image, (left, top))
    mask = Image.new("L", size, 255)
    mask.paste(0, (left, top, left + image.width, top + image.height))
    return _png(whole), _png(mask)


def rectangle(size: tuple[int, int], box: tuple[float, ...]) -> bytes:
    """A mask that is white in a rectangle: left, top, width and height in shares of the picture."""
    from PIL import Image

    left, top = round(box[0] * size[0]), round(box[1] * size[1])
    right, bottom = min(size[0], left + round(box[2] * size[0])), min(size[1], top + round(box[3] * size[1]))
    if right <= left or bottom <= top:
        raise InputError("the rectangle lies outside of the picture; its left and top are below 100 percent")
    mask = Image.new("L", size, 0)
    mask.paste(255, (left, top, right, bottom))
    return _png(mask)


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
