"""Segment the subject on pictures with a segmentation model."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from limner.errors import FileError, InputError, MissingExtra

if TYPE_CHECKING:
    from PIL import Image


CERTAIN = 0.5
"""Least probability of a pixel in the mask."""


def masks(images: Sequence[Image.Image], noun: str, where: str, *, device: str = "cpu") -> list[Image.Image]:
    """Segment the subject on each picture; a mask is an "L" picture, white on the subject.

    images: the pictures to segment
    noun: class noun of the subject
    where: folder or hub id of a CLIPSeg (Lüddecke & Ecker, arXiv:2112.10003), which segments by the class noun, or of a
        SAM (arXiv:2304.02643), which segments from the centre point; or "rembg", which segments by salience
    device: "cpu", or the name of a CUDA device

    Raises `InputError` for an empty mask, `MissingExtra` without rembg, and `FileError` for a model of another kind.
    """
    if where == "rembg":
        return [_checked(mask, k) for k, mask in enumerate(_salient(images))]
    kind = model_kind(where)
    if kind == "clipseg":
        subject_masks = _by_text(images, noun, where, device)
    elif kind == "sam":
        subject_masks = _by_point(images, where, device)
    else:
        raise FileError(
            f"{where} is a {kind or 'model of an unknown kind'}; expected a segmenter: a CLIPSeg, a SAM, or rembg"
        )
    return [_checked(mask, k) for k, mask in enumerate(subject_masks)]


def model_kind(where: str) -> str:
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
    subject_masks = []
    for image in images:
        inputs = processor(text=[noun], images=[image], return_tensors="pt").to(device)
        with torch.no_grad():
            logits = model(**inputs).logits
        subject_masks.append(_grown(torch.sigmoid(logits.view(1, 1, *logits.shape[-2:])), image))
    return subject_masks


def _by_point(images: Sequence[Image.Image], where: str, device: str) -> list[Image.Image]:
    import torch
    from transformers import SamModel, SamProcessor

    processor: Any = SamProcessor.from_pretrained(where)
    model: Any = SamModel.from_pretrained(where)
    model = model.to(device).eval()
    subject_masks = []
    for image in images:
        middle = [[[image.width / 2, image.height / 2]]]
        inputs = processor(images=image, input_points=middle, return_tensors="pt").to(device)
        with torch.no_grad():
            out = model(**inputs)
        best = int(out.iou_scores[0, 0].argmax())
        sizes = inputs["original_sizes"].tolist(), inputs["reshaped_input_sizes"].tolist()
        masks = processor.image_processor.post_process_masks(out.pred_masks.cpu(), *sizes)
        subject_masks.append(_grown(masks[0][:, best : best + 1].float(), image))
    return subject_masks


def _grown(mask: Any, image: Image.Image) -> Image.Image:
    """A mask [1, 1, h, w] in [0, 1] as an "L" picture of the picture's size."""
    import torch.nn.functional as F
    from PIL import Image

    large = F.interpolate(mask.float(), (image.height, image.width), mode="bilinear")[0, 0]
    return Image.fromarray(((large > CERTAIN).byte() * 255).cpu().numpy())


def _checked(mask: Image.Image, place: int) -> Image.Image:
    if not sum(mask.histogram()[128:]):
        raise InputError(
            f"no subject was found on picture {place + 1}; put a mask of your own beside it (NAME.mask.png)"
        )
    return mask
