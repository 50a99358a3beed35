"""Uploads: forms within limits, and pictures that are decoded before they are stored."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.types import Scope

from limner.core.decoding import decoded, decoded_mask, picture_size
from limner.errors import PictureError

from .errors import ApiError

if TYPE_CHECKING:
    from PIL import Image

    from .config import Limits

FORM = "limner.form"  # key of a request's form in its scope
MOST_FIELDS = 500
MOST_FIELD_BYTES = 200_000  # the largest field that is no file
LARGE = 4_000_000  # pixels from which pictures are decoded `AT_ONCE` at a time
AT_ONCE = 2
_large = threading.BoundedSemaphore(AT_ONCE)


async def read_form(request: Request) -> FormData:
    """The form of a request, within the limits; read once, whoever asks first."""
    limits: Limits = request.app.state.services.config.limits
    form = await request.form(max_files=2 * limits.pictures, max_fields=MOST_FIELDS, max_part_size=MOST_FIELD_BYTES)
    request.scope[FORM] = form
    return form


async def close_form(scope: Scope) -> None:
    """Delete the temporary files of a request's form."""
    if (form := scope.pop(FORM, None)) is not None:
        await form.close()


@dataclass(frozen=True)
class UploadedPicture:
    """A picture that a client sent, which can be decoded."""

    data: bytes
    filename: str  # its last part, for people to recognise it


@dataclass(frozen=True)
class DecodedPicture(UploadedPicture):
    """A picture that a client sent, decoded: 64 million pixels take 200 MB, so let go of it soon."""

    image: Image.Image  # RGB, or "L" for a mask
    opaque: Image.Image | None = None  # "L": where a picture with transparency is opaque


def plain_filename(name: str | None) -> str:
    """The last part of a name that a client sent, without control characters; nothing is opened by it."""
    last = PurePosixPath(PureWindowsPath(name or "").as_posix()).name
    return "".join(character for character in last if character.isprintable())[:255]


async def read_upload(file: UploadFile, limits: Limits, *, most: int = 0) -> bytes:
    """The bytes of an uploaded file. Raises `ApiError` for more than `most` (default: those of a picture)."""
    most = most or limits.picture_bytes
    data = await file.read(most + 1)
    if len(data) > most:
        name = plain_filename(file.filename) or "a file"
        raise ApiError(413, "too_large", f"{name} is too large; at most {most:,} bytes are read of each file")
    return data


def check_picture(data: bytes, name: str, limits: Limits, *, mask: bool = False) -> UploadedPicture:
    """Decode a picture to see that it is one, and keep its bytes alone. Raises as `decode_picture`."""
    picture = decode_picture(data, name, limits, mask=mask)
    return UploadedPicture(picture.data, picture.filename)


@contextmanager
def room_for(pixels: int) -> Iterator[None]:
    """Wait until a picture of that many pixels may be decoded: few large ones are in memory at the same time."""
    if pixels < LARGE:
        yield
        return
    with _large:
        yield


def decode_picture(data: bytes, name: str, limits: Limits, *, mask: bool = False) -> DecodedPicture:
    """Decode a picture in bounded memory. Raises `PictureError` for one that cannot be read, and `ApiError` for one
    with too many pixels."""
    name = plain_filename(name) or "the picture"
    with room_for(check_pixels(data, name, limits)):
        if mask:
            return DecodedPicture(data, name, decoded_mask(data, name=name))
        picture = decoded(data, name=name)
        return DecodedPicture(data, name, picture.rgb, picture.opaque)


def check_pixels(data: bytes, name: str, limits: Limits) -> int:
    """The number of pixels that a picture's header names; raises where it is more than are read. Nothing is decoded."""
    if not data:
        raise PictureError(f"{name} is empty; expected a picture")
    width, height = picture_size(data, name=name)
    if width * height > limits.pixels:
        raise ApiError(
            413, "too_many_pixels", f"{name} has {width} x {height} pixels; at most {limits.pixels:,} are read"
        )
    return width * height
