"""Checks of the pictures that a payload names, before its job is queued: squares, and masks of a photo's size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from limner.core.decoding import decoded, decoded_mask, picture_size
from limner.errors import InputError
from limner.workflows.photo import check_mask, check_square
from limner.workflows.requests import PaintRequest, Request, SwapRequest, TryOnRequest


def check_pictures(request: Request, read: Callable[[Path], bytes]) -> None:
    """Raise `InputError` for pictures with which the work of a request would fail.

    read: the content of a file that the request names
    """
    if isinstance(request, PaintRequest):
        for name, place in request.conditions.items():
            _check_condition(name, read(place))
    elif isinstance(request, SwapRequest):
        _check_photo(read(request.photo), read(request.where) if request.where else None, needs_mask=True)
    elif isinstance(request, TryOnRequest):
        _check_photo(read(request.person), read(request.where) if request.where else None, needs_mask=False)


def _check_condition(name: str, data: bytes) -> None:
    width, height = picture_size(data, name=f"the picture of the condition {name}")
    if width != height:
        raise InputError(
            f"the picture of the condition {name} is {width} x {height} pixels, and a base paints squares: crop it to a "
            "square with the content of the picture to paint"
        )


def _check_photo(data: bytes, mask: bytes | None, *, needs_mask: bool) -> None:
    photo = decoded(data, name="the photo")
    if mask is not None:
        check_mask(decoded_mask(mask, name="the mask"), photo.rgb.size)
    elif needs_mask and not photo.opaque:
        check_square(photo.rgb.size)
