"""Tokens of several classes told apart in CLIP's space (MC-TI, arXiv:2410.22317)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from limner.core.needs import text_features
from limner.core.recipe import Objective

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Step
    from limner.core.recipe import Source
    from limner.core.subject import Subject

FEATURES = "CLIP features of classes"


def classification(source: Source, subjects: Sequence[Subject], *, sharpness: float = 10.0) -> Objective:
    """Cross-entropy of each class's text among pictures of all classes.

    The logits of a class are `sharpness` times the cosines of the text embedding of "a photo of S*" to the CLIP
    embedding of one random picture of every class; the right one is that of its own picture. The base's CLIP compares
    texts and pictures.

    source: gives step and random stream; its pictures are not used
    subjects: the classes, each with pictures of its own and its placeholder token
    sharpness: factor of the cosines
    """

    def value(step: Step) -> Tensor:
        import torch
        import torch.nn.functional as F

        base, at = step.adapted.base, step.random("samples of classes")
        key = FEATURES, tuple(picture.sha256 for one in subjects for picture in one.pictures)
        if key not in step.adapted.cache:
            with torch.no_grad():
                step.adapted.cache[key] = [
                    F.normalize(base.picture_features(one.tensor(base.picture_size).to(base.device)).float(), dim=-1)
                    for one in subjects
                ]
        features: list[Tensor] = step.adapted.cache[key]
        rows = [int(torch.randint(len(each), (), generator=at)) for each in features]
        seen = torch.stack([each[row] for each, row in zip(features, rows, strict=True)])
        prompts = [step.adapted.expand_prompt(class_prompt(one.handle)) for one in subjects]
        texts = F.normalize(base.text_features(prompts, words=step.adapted.words).float(), dim=-1)
        return F.cross_entropy(sharpness * texts @ seen.T, torch.arange(len(seen), device=seen.device))

    return Objective(
        f"classification({source.name})", source, value, any_target=True, across=True, needs=(text_features,)
    )


def class_prompt(handle: str) -> str:
    """The prompt whose text embedding stands for a class.

    handle: the class's word
    """
    return f"a photo of {handle}"
