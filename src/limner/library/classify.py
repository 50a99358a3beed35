"""Classify pictures by learned words: the class whose text embedding is nearest to the picture's in CLIP's space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from limner.core.subject import Subject, read_picture
from limner.engine.attach import attach
from limner.errors import InputError
from limner.parts.objectives.classification import class_prompt

from .opening import adapter_of

if TYPE_CHECKING:
    from limner.core.base import Base
    from limner.core.concept import Concept


class Classified(NamedTuple):
    """A picture's class, and how near each class is."""

    handle: str  # the nearest: "<rex>"
    cosines: dict[str, float]  # handle -> cosine of its text embedding to the picture's


def classify(base: Base, concepts: Sequence[Concept], pictures: Sequence[object]) -> list[Classified]:
    """The class of every picture, by the nearest learned word (Sec. 3.4 of arXiv:2410.22317).

    Concepts of `mc_ti` are made for it; any others whose subjects have words of their own serve too.

    base: the base that the concepts were learned on, with a CLIP that compares texts and pictures
    concepts: concepts whose handles are the classes, two handles or more
    pictures: files, PIL pictures or [3, H, W] tensors in [0, 1]

    Raises `InputError` for fewer than two classes, for no picture, and on a base that compares no texts with pictures.
    """
    import torch
    import torch.nn.functional as F

    handles = [handle for concept in concepts for handle in concept.handles]
    if len(handles) < 2:
        raise InputError(
            f"pictures are told apart by two classes or more, and the concepts answer to {' and '.join(handles) or 'none'}: "
            "give more concepts, or one of several subjects (limner learn --method mc_ti --beside …)"
        )
    read = [read_picture(picture, name=f"picture {k}")[0] for k, picture in enumerate(pictures, 1)]
    if not read:
        raise InputError("there are no pictures to classify: give one or more")
    pixels = Subject("<pictures>", "picture", tuple(read)).tensor(base.picture_size).to(base.device)
    with torch.no_grad(), attach(base, [adapter_of(concept, base) for concept in concepts]) as adapted:
        prompts = [adapted.expand_prompt(class_prompt(handle)) for handle in handles]
        texts = F.normalize(base.text_features(prompts, words=adapted.words).float(), dim=-1)
        seen = F.normalize(base.picture_features(pixels).float(), dim=-1)
    cosines = (seen @ texts.T).tolist()
    each = [dict(zip(handles, row, strict=True)) for row in cosines]
    return [Classified(max(row, key=row.__getitem__), row) for row in each]
