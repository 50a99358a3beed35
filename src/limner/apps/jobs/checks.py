"""Checks before a job is queued: handles that a concept answers to, square pictures, masks of a photo's size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from limner.core.decoding import decoded, decoded_mask, picture_size
from limner.core.headers import subject_handles
from limner.core.prompts import check_prompts
from limner.errors import InputError
from limner.workflows.photo import check_mask, check_square
from limner.workflows.requests import PaintRequest, Request, SwapRequest, TryOnRequest

from .tables import Concept


def check_handles(request: Request, concepts: Sequence[Concept]) -> None:
    """Raise `PromptError` where a painting's prompt names a handle that none of its concepts answers to."""
    if isinstance(request, PaintRequest):
        negative = [request.negative] if request.negative.strip() else []
        check_prompts([*request.prompts, *negative], handles=[h for each in concepts for h in handles_of(each)])


def handles_of(concept: Concept) -> list[str]:
    """The handles that a concept answers to: its own, and those of further subjects and of a merged one's members."""
    members = concept.header.get("members") or [concept.header]
    cards = [member.get("subject") or {} for member in members]
    return list(
        dict.fromkeys([concept.handle, *(handle for card in cards if card for handle in subject_handles(card))])
    )


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
