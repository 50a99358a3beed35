"""Add masks and captions to a subject's pictures with a segmentation model and a captioning model."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from limner.errors import InputError

from .caption import captions
from .segment import masks

if TYPE_CHECKING:
    from PIL import Image

    from limner.core.subject import Subject


def prepared(
    subject: Subject, *, segment: str | None = None, caption: str | None = None, device: str | None = None
) -> Subject:
    """The subject, with masks and captions added to the pictures that lack them.

    subject: the subject
    segment: "rembg", or folder or hub id of a CLIPSeg or SAM; None adds no masks
    caption: "pocket", or folder or hub id of a BLIP, BLIP-2 or LLaVA; None adds no captions
    device: "cpu" or the name of a CUDA device; None takes "cpu"

    Raises `InputError` for a picture on which no subject is found, `MissingExtra` without rembg, and `FileError` for a
    model of another kind.
    """
    if segment and any(picture.mask is None for picture in subject.pictures):
        new_masks = masks(_images(subject), subject.noun, segment, device=device or "cpu")
        pictures = (replace(p, mask=p.mask or m) for p, m in zip(subject.pictures, new_masks, strict=True))
        subject = replace(subject, pictures=tuple(pictures))
    if caption and any(not picture.caption for picture in subject.pictures):
        new_captions = captions(_images(subject), subject, caption, device=device or "cpu")
        pictures = (
            replace(p, caption=p.caption or text) for p, text in zip(subject.pictures, new_captions, strict=True)
        )
        subject = replace(subject, pictures=tuple(pictures))
    return subject


def _images(subject: Subject) -> list[Image.Image]:
    images = [picture.image for picture in subject.pictures]
    if any(image is None for image in images):
        raise InputError("these pictures have no pixels; give the picture files again")
    return images  # type: ignore[return-value]  # checked above: none is None
