"""A placeholder token close to the subject in CLIP's space before any denoising (arXiv:2401.15708)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.core.needs import text_features
from limner.core.recipe import Objective

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Modifier, Step
    from limner.core.base import Base
    from limner.core.recipe import Source
    from limner.core.subject import Subject
    from limner.parts.sources.photos import Masks


def prototype(source: Source, subject: Subject, masks: Masks) -> Objective:
    """1 - cosine between CLIP's embedding of "a photo of S*" and the subject's prototype (Eq. 3).

    The prototype is the mean over pictures, pictures with a grey background, and the class noun.

    source: batches whose prompts name the token
    subject: the subject
    masks: base and subject -> [n, 1, H, W]
    """
    target: list[Tensor] = []  # the same for every update, so computed once

    def value(step: Step) -> Tensor:
        import torch

        base, prompt = step.adapted.base, f"a photo of {subject.handle}"
        if not target:
            target.append(prototypical_embedding(base, subject, masks))
        embedding = base.text_features([prompt], words=step.adapted.words)
        return 1 - torch.cosine_similarity(embedding.float(), target[0], dim=-1).mean()

    return Objective(f"prototype({source.name})", source, value, needs=(text_features,))


def prototypical_embedding(base: Base, subject: Subject, masks: Masks) -> Tensor:
    """[1, D]: the mean of unit embeddings of pictures, masked pictures and class noun.

    base: the base
    subject: the subject
    masks: base and subject -> [n, 1, H, W]
    """
    import torch
    from torch.nn.functional import normalize

    with torch.no_grad():
        pixels, where = subject.tensor(base.picture_size), masks(base, subject)
        alone = torch.lerp(torch.full_like(pixels, 0.5), pixels, where)
        seen = [base.picture_features(x).float() for x in (pixels, alone)]
        text_embedding = base.text_features([f"a photo of a {subject.noun}"], words={}).float()
        parts = torch.stack([normalize(x, dim=-1).mean(0) for x in (*seen, text_embedding)])
    return normalize(parts.mean(0, keepdim=True), dim=-1)


def near_start(source: Source, word: Modifier, start: str) -> Objective:
    """Squared distance of a token's vectors from their start, relative to the start's squared length (Sec. 3.3).

    source: gives step and random stream; its pictures are not used
    word: the placeholder token's modifier
    start: the text it started from
    """

    def value(step: Step) -> Tensor:
        base = step.adapted.base
        (vectors,) = step.adapted.live[word].tensors.values()
        plain = base.word_vectors(start)[:1]
        return (vectors - plain).square().sum(-1).mean() / plain.square().sum()

    return Objective(f"near its start({source.name})", source, value)
