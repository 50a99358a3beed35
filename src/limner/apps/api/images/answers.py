"""Pictures as the images API answers them: encoded, resized, counted."""

from __future__ import annotations

import base64
import io
import json
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from limner.core.provenance import exif_fields, png_fields

from ..fields import Record

if TYPE_CHECKING:
    from PIL import Image

    from .fields import Generation

PATCH = 16  # pixels on the side of the square that counts as one image token
MEDIA = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


@dataclass(frozen=True)
class Answered:
    """A picture that was painted for a request."""

    image: Image.Image
    story: Record  # limner's record of how it was made
    number: str  # id of the picture
    prompt: str  # as it was painted
    seed: int
    metrics: Record = field(default_factory=dict)  # seconds waited and painted, pictures in its batch


@dataclass(frozen=True)
class Partial:
    """A partial picture of a request: the finished one as it is expected while it is painted."""

    image: Image.Image
    story: Record
    number: int  # from 0, of the partial pictures of one picture
    index: int  # number of the picture among those of the request


def resized(image: Image.Image, size: tuple[int, int] | None) -> Image.Image:
    """The picture at a size: scaled until it covers the size, then cut to it around its middle."""
    from PIL import Image, ImageOps

    if size is None or image.size == size:
        return image
    return ImageOps.fit(image, size, Image.Resampling.LANCZOS)


def encoded(answered: Answered | Partial, fields: Generation) -> bytes:
    """The picture's file in the format that was asked for, with limner's record in it."""
    image = resized(answered.image, fields.wanted_size)
    kind, quality = fields.output_format or "png", fields.output_compression
    quality = 100 if quality is None else quality
    if kind == "png":
        return png_file(image, answered.story, compress_level=6 if quality else 9)
    buffer, about = io.BytesIO(), exif_fields(json.dumps({"limner": answered.story}))
    # JPEG's own scale ends at 95: beyond, files grow and pictures do not change
    most = min(quality, 95) if kind == "jpeg" else quality
    image.save(buffer, kind.upper(), quality=max(1, most), exif=about)
    return buffer.getvalue()


def png_file(image: Image.Image, story: Record, *, compress_level: int = 6) -> bytes:
    """A PNG with limner's record, as `Picture.save` writes it. compress_level: 0 to 9, that of zlib."""
    from PIL.PngImagePlugin import PngInfo

    about, buffer = PngInfo(), io.BytesIO()
    for name, text in png_fields(story, image.size).items():
        about.add_itxt(name, text)
    image.save(buffer, "PNG", pnginfo=about, compress_level=compress_level)
    return buffer.getvalue()


def usage(fields: Generation, pictures: Sequence[Answered], inputs: Sequence[Image.Image] = ()) -> Record:
    """Counts in OpenAI's form. A word or a mark is a text token, a square of 16 x 16 pixels an image token."""
    text = len(re.findall(r"\w+|[^\w\s]", fields.prompt))
    given = sum(_tokens(image.size) for image in inputs)
    made = sum(_tokens(fields.wanted_size or picture.image.size) for picture in pictures)
    return {
        "input_tokens": text + given,
        "input_tokens_details": {"text_tokens": text, "image_tokens": given},
        "output_tokens": made,
        "output_tokens_details": {"text_tokens": 0, "image_tokens": made},
        "total_tokens": text + given + made,
    }


def _tokens(size: tuple[int, int]) -> int:
    return -(-size[0] // PATCH) * -(-size[1] // PATCH)


def picture_data(answered: Answered, fields: Generation, address: str) -> Record:
    """One entry of the answer's `data`."""
    revised = answered.prompt if answered.prompt != fields.prompt else None
    about: Record = {"id": answered.number, "seed": answered.seed, "revised_prompt": revised}
    if fields.response_format == "url":
        return {**about, "b64_json": None, "url": f"{address}v1/images/{answered.number}/content"}
    return {**about, "b64_json": base64.b64encode(encoded(answered, fields)).decode(), "url": None}


def notes_of(fields: Generation, pictures: Sequence[Answered], *, num_partials: int = 0) -> list[str]:
    """Lines that the caller should know. num_partials: partial pictures that were sent of each"""
    notes = []
    painted, wanted = pictures[0].image.size, fields.wanted_size
    if wanted is not None and painted != wanted:
        stored = "; the URL leads to the picture as it was painted" if fields.response_format == "url" else ""
        notes.append(
            f"painted at {painted[0]}x{painted[1]}, the base's own size, and resized to {wanted[0]}x{wanted[1]}{stored}"
        )
    wanted_partials = fields.partial_images or 0
    if num_partials < wanted_partials:
        why = (
            "fewer steps are sampled, or other processes paint for this server"
            if fields.stream
            else "they come in a stream alone (stream: true)"
        )
        notes.append(f"{num_partials} of {wanted_partials} partial pictures were sent: {why}")
    if pictures[0].prompt != fields.prompt:
        notes.append("the prompt did not name the concept's handle; revised_prompt is the prompt that was painted")
    return notes


def answer(
    fields: Generation, pictures: Sequence[Answered], *, created: int, address: str, inputs: Sequence[Any] = ()
) -> Record:
    """The whole answer in OpenAI's form."""
    size = fields.wanted_size or pictures[0].image.size
    return {
        "created": created,
        "data": [picture_data(picture, fields, address) for picture in pictures],
        "output_format": fields.output_format or "png",
        "size": f"{size[0]}x{size[1]}",
        "quality": _quality(fields),
        "background": "opaque",
        "usage": usage(fields, pictures, inputs),
        "metrics": metrics(pictures),
        "notes": notes_of(fields, pictures),
    }


def _quality(fields: Generation) -> str:
    """The quality in the words that OpenAI's answers have."""
    return {"hd": "high", "standard": "medium", "auto": "medium"}.get(fields.quality or "auto", fields.quality or "")


def metrics(pictures: Sequence[Answered]) -> Record:
    """Seconds from the order to the start of its batch and of the batch, the longest of each, and pictures in it."""
    names = {name for picture in pictures for name in picture.metrics}
    return {name: max(picture.metrics.get(name, 0) for picture in pictures) for name in sorted(names)}


def stream_event(
    kind: str,
    fields: Generation,
    picture: Answered,
    index: int,
    *,
    created: int,
    inputs: Any,
    num_partials: int = 0,
) -> Record:
    """A finished picture as an event of a stream, in OpenAI's form, and for edits named as vLLM-Omni names chunks.
    num_partials: partial pictures of it that were sent before"""
    return {
        **_event(kind, "completed", fields, picture, created),
        "object": "image.edit.chunk" if kind == "edit" else "image.generation.chunk",
        "index": index,
        "id": picture.number,
        "seed": picture.seed,
        "revised_prompt": picture.prompt if picture.prompt != fields.prompt else None,
        "usage": usage(fields, [picture], inputs),
        "metrics": metrics([picture]),
        "notes": notes_of(fields, [picture], num_partials=num_partials),
    }


def partial_event(kind: str, fields: Generation, partial: Partial, *, created: int) -> Record:
    """A partial picture as an event of a stream, in OpenAI's form; `index` numbers the picture that it becomes."""
    about = _event(kind, "partial_image", fields, partial, created)
    return {**about, "partial_image_index": partial.number, "index": partial.index}


def _event(kind: str, what: str, fields: Generation, picture: Answered | Partial, created: int) -> Record:
    """The fields that all events of a stream have."""
    size = fields.wanted_size or picture.image.size
    return {
        "type": f"{'image_edit' if kind == 'edit' else 'image_generation'}.{what}",
        "created_at": created,
        "b64_json": base64.b64encode(encoded(picture, fields)).decode(),
        "output_format": fields.output_format or "png",
        "size": f"{size[0]}x{size[1]}",
        "quality": _quality(fields),
        "background": "opaque",
    }


def zipped(pictures: Sequence[Answered], fields: Generation) -> bytes:
    """Several pictures in one archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for number, picture in enumerate(pictures):
            archive.writestr(f"image_{number}.{fields.output_format or 'png'}", encoded(picture, fields))
    return buffer.getvalue()
