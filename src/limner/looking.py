"""What can be seen on a subject's pictures by networks made for it: where it is, and what else is there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import FileError, InputError, MissingExtra
from .subject import Subject

if TYPE_CHECKING:
    from PIL import Image

CERTAIN = 0.5


def prepared(
    subject: Subject, *, segment: str | None = None, caption: str | None = None, device: str | None = None
) -> Subject:
    """The subject with masks for the pictures that have none, and captions likewise.

    `segment` is "rembg", or a folder or hub id of a CLIPSeg or SAM; `caption` of a BLIP, a BLIP-2 or a LLaVA, or "pocket".
    Raises `InputError` where nothing is found on a picture, `MissingExtra` without rembg, and `FileError` for a model of
    another kind.
    """
    if segment and any(picture.mask is None for picture in subject.pictures):
        found = masks(_images(subject), subject.noun, segment, device=device or "cpu")
        kept = (replace(p, mask=p.mask or m) for p, m in zip(subject.pictures, found, strict=True))
        subject = replace(subject, pictures=tuple(kept))
    if caption and any(not picture.caption for picture in subject.pictures):
        said = captions(_images(subject), subject, caption, device=device or "cpu")
        told = (replace(p, caption=p.caption or text) for p, text in zip(subject.pictures, said, strict=True))
        subject = replace(subject, pictures=tuple(told))
    return subject


def masks(images: Sequence[Image.Image], noun: str, where: str, *, device: str = "cpu") -> list[Image.Image]:
    """An "L" picture for each, white where the subject is: by text for CLIPSeg (Lüddecke & Ecker, arXiv:2112.10003), from a
    point in the middle for SAM (arXiv:2304.02643), by salience for rembg."""
    if where == "rembg":
        return [_checked(mask, k) for k, mask in enumerate(_salient(images))]
    kind = _kind(where)
    if kind == "clipseg":
        found = _by_text(images, noun, where, device)
    elif kind == "sam":
        found = _by_point(images, where, device)
    else:
        raise FileError(f"{where} is a {kind or 'model of no known kind'}; a segmenter is a CLIPSeg, a SAM, or rembg")
    return [_checked(mask, k) for k, mask in enumerate(found)]


def captions(images: Sequence[Image.Image], subject: Subject, where: str, *, device: str = "cpu") -> list[str]:
    """What BLIP (arXiv:2201.12086) says of each picture, with the handle where it names the class; so does a BLIP-2, a LLaVA, or
    for "pocket" the pocket's own, which knows toys."""
    from transformers import BlipForConditionalGeneration, BlipProcessor

    kind = "llava" if where == "pocket" else _kind(where)
    if kind in ("llava", "blip-2"):
        return [named(text, subject) for text in _told(images, subject, "" if where == "pocket" else where, device)]
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
    from .parts.encoders.multimodal import opened

    reader = opened(where, device)
    return reader.captions(Subject.of(images, noun=subject.noun, handle=subject.handle).tensor(reader.size))


def named(text: str, subject: Subject) -> str:
    """A caption that names the subject: "a dog on a sofa" -> "<rex> on a sofa"; what does not name the class follows it."""
    text = text.strip().rstrip(".")
    said, count = re.subn(
        rf"\b(?:(?:a|an|the|one)\s+)?{re.escape(subject.noun)}\b", subject.handle, text, count=1, flags=re.IGNORECASE
    )
    if count:
        return said
    return f"a photo of {subject.handle}, {text}" if text else f"a photo of {subject.handle}"


def _images(subject: Subject) -> list[Image.Image]:
    images = [picture.image for picture in subject.pictures]
    if any(image is None for image in images):
        raise InputError("the pixels of these pictures are not known; give the pictures again")
    return images  # type: ignore[return-value]  # none is None


def _kind(where: str) -> str:
    from transformers import AutoConfig

    try:
        return str(AutoConfig.from_pretrained(where).model_type)
    except (OSError, ValueError) as error:
        raise FileError(f"{where} cannot be opened as a model: {str(error).splitlines()[0]}") from error


def _salient(images: Sequence[Image.Image]) -> list[Image.Image]:
    try:
        rembg: Any = import_module("rembg")
    except ImportError as error:
        raise MissingExtra(
            "rembg is not installed: `pip install rembg`, or name a CLIPSeg or SAM by folder or hub id"
        ) from error
    return [rembg.remove(image, only_mask=True).convert("L") for image in images]


def _by_text(images: Sequence[Image.Image], noun: str, where: str, device: str) -> list[Image.Image]:
    import torch
    from transformers import CLIPSegForImageSegmentation, CLIPSegProcessor

    processor: Any = CLIPSegProcessor.from_pretrained(where)
    model: Any = CLIPSegForImageSegmentation.from_pretrained(where)
    model = model.to(device).eval()
    found = []
    for image in images:
        inputs = processor(text=[noun], images=[image], return_tensors="pt").to(device)
        with torch.no_grad():
            logits = model(**inputs).logits
        found.append(_grown(torch.sigmoid(logits.view(1, 1, *logits.shape[-2:])), image))
    return found


def _by_point(images: Sequence[Image.Image], where: str, device: str) -> list[Image.Image]:
    import torch
    from transformers import SamModel, SamProcessor

    processor: Any = SamProcessor.from_pretrained(where)
    model: Any = SamModel.from_pretrained(where)
    model = model.to(device).eval()
    found = []
    for image in images:
        middle = [[[image.width / 2, image.height / 2]]]
        inputs = processor(images=image, input_points=middle, return_tensors="pt").to(device)
        with torch.no_grad():
            out = model(**inputs)
        best = int(out.iou_scores[0, 0].argmax())
        sizes = inputs["original_sizes"].tolist(), inputs["reshaped_input_sizes"].tolist()
        masks = processor.image_processor.post_process_masks(out.pred_masks.cpu(), *sizes)
        found.append(_grown(masks[0][:, best : best + 1].float(), image))
    return found


def _grown(mask: Any, image: Image.Image) -> Image.Image:
    """[1, 1, h, w] in [0, 1] -> "L" in the picture's size."""
    import torch.nn.functional as F
    from PIL import Image

    large = F.interpolate(mask.float(), (image.height, image.width), mode="bilinear")[0, 0]
    return Image.fromarray(((large > CERTAIN).byte() * 255).cpu().numpy())


def _checked(mask: Image.Image, place: int) -> Image.Image:
    if not sum(mask.histogram()[128:]):
        raise InputError(f"nothing was found on picture {place + 1}; put a mask of your own beside it (NAME.mask.png)")
    return mask
