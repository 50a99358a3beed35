"""Caption pictures with a captioning model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from limner.bases.common.loading import capabilities_of
from limner.core.style_captions import in_style
from limner.core.subject import Subject
from limner.errors import FileError

from .segment import model_kind

if TYPE_CHECKING:
    from PIL import Image


def captions(images: Sequence[Image.Image], subject: Subject, where: str, *, device: str = "cpu") -> list[str]:
    """Caption each picture with BLIP (arXiv:2201.12086), BLIP-2 or LLaVA; the subject's handle replaces its class.

    images: the pictures to caption
    subject: gives the handle and the class noun
    where: folder or hub id of the model, or a base that ships with one: "pocket", whose model knows toys
    device: "cpu", or the name of a CUDA device

    Raises `FileError` for a model of another kind.
    """
    from transformers import BlipForConditionalGeneration, BlipProcessor

    where = capabilities_of(where).multimodal or where
    kind = model_kind(where)
    if kind in ("llava", "blip-2"):
        return [named(text, subject) for text in _caption_by_language_model(images, subject, where, device)]
    if kind != "blip":
        raise FileError(
            f"{where} is a {kind or 'model of an unknown kind'}; expected a captioner: a BLIP, a BLIP-2 or a LLaVA"
        )
    processor: Any = BlipProcessor.from_pretrained(where)
    model: Any = BlipForConditionalGeneration.from_pretrained(where)
    model = model.to(device).eval()
    inputs = processor(images=list(images), return_tensors="pt").to(device)
    ids = model.generate(**inputs, max_new_tokens=24, do_sample=False)
    return [named(text, subject) for text in processor.batch_decode(ids, skip_special_tokens=True)]


def _caption_by_language_model(images: Sequence[Image.Image], subject: Subject, where: str, device: str) -> list[str]:
    """Captions by a multimodal language model."""
    from limner.parts.encoders.multimodal import opened

    reader = opened(where, device)
    return reader.captions(Subject.of(images, noun=subject.noun, handle=subject.handle).tensor(reader.size))


def named(text: str, subject: Subject) -> str:
    """Put the subject's handle into a caption: "a dog on a sofa" -> "<rex> on a sofa". A caption that does not name the
    class follows "a photo of <rex>". A style's caption names the content first: "a dog on a sofa in <sty>"."""
    if subject.kind == "style":
        return in_style(text, subject.handle, subject.noun)
    text = text.strip().rstrip(".")
    caption, count = re.subn(
        rf"\b(?:(?:a|an|the|one)\s+)?{re.escape(subject.noun)}\b", subject.handle, text, count=1, flags=re.IGNORECASE
    )
    if count:
        return caption
    return f"a photo of {subject.handle}, {text}" if text else f"a photo of {subject.handle}"
