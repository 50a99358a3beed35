"""Captions of pictures, written by a captioning model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from limner.bases.common.loading import capabilities_of
from limner.core.subject import Subject
from limner.errors import FileError

from .segment import model_kind

if TYPE_CHECKING:
    from PIL import Image


def captions(images: Sequence[Image.Image], subject: Subject, where: str, *, device: str = "cpu") -> list[str]:
    """What BLIP (arXiv:2201.12086) says of each picture, with the handle where it names the class; so does a BLIP-2 or
    a LLaVA. `where` is a folder, a hub id, or the name of a base that brings a model of its own: "pocket", whose model
    knows toys."""
    from transformers import BlipForConditionalGeneration, BlipProcessor

    where = capabilities_of(where).multimodal or where
    kind = model_kind(where)
    if kind in ("llava", "blip-2"):
        return [named(text, subject) for text in _told(images, subject, where, device)]
    if kind != "blip":
        raise FileError(f"{where} is a {kind or 'model of no known kind'}; a captioner is a BLIP, a BLIP-2 or a LLaVA")
    processor: Any = BlipProcessor.from_pretrained(where)
    model: Any = BlipForConditionalGeneration.from_pretrained(where)
    model = model.to(device).eval()
    inputs = processor(images=list(images), return_tensors="pt").to(device)
    ids = model.generate(**inputs, max_new_tokens=24, do_sample=False)
    return [named(text, subject) for text in processor.batch_decode(ids, skip_special_tokens=True)]


def _told(images: Sequence[Image.Image], subject: Subject, where: str, device: str) -> list[str]:
    """What a multimodal language model says of pictures."""
    from limner.parts.encoders.multimodal import opened

    reader = opened(where, device)
    return reader.captions(Subject.of(images, noun=subject.noun, handle=subject.handle).tensor(reader.size))


def named(text: str, subject: Subject) -> str:
    """A caption that names the subject: "a dog on a sofa" -> "<rex> on a sofa"; what does not name the class follows
    it."""
    text = text.strip().rstrip(".")
    said, count = re.subn(
        rf"\b(?:(?:a|an|the|one)\s+)?{re.escape(subject.noun)}\b", subject.handle, text, count=1, flags=re.IGNORECASE
    )
    if count:
        return said
    return f"a photo of {subject.handle}, {text}" if text else f"a photo of {subject.handle}"
