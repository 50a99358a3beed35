"""Files that people upload in a form: checked, stored by content, and counted to their owner."""

from __future__ import annotations

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile

from limner.apps.api.routes.common import picture_kind, store
from limner.apps.api.uploads import UploadedPicture, check_picture, read_upload

from .view import user_of


async def read_pictures(request: Request, files: list[UploadFile], *, mask: bool = False) -> list[UploadedPicture]:
    """Uploaded pictures, each decoded once to see that it is one. Raises `PictureError` and `ApiError`."""
    limits = request.app.state.services.config.limits
    read = []
    for file in files:
        data = await read_upload(file, limits)
        read.append(await run_in_threadpool(check_picture, data, file.filename or "", limits, mask=mask))
    return read


async def read_picture(request: Request, form: FormData, name: str, *, mask: bool = False) -> UploadedPicture | None:
    """The picture of a file input; None where none was chosen."""
    file = form.get(name)
    if not isinstance(file, UploadFile) or not file.filename:
        return None
    return (await read_pictures(request, [file], mask=mask))[0]


async def keep_picture(request: Request, data: bytes) -> str:
    """Store a picture for the user and return its SHA-256. Raises `QuotaExceeded`."""
    services, kind = request.app.state.services, picture_kind(data)
    return await run_in_threadpool(store, services, user_of(request), data, kind)
