"""Pictures and captions aligned before any sampling: the first stage of BLIP-2 (Sec. 3.2 of arXiv:2301.12597).

Texts are read by the base's frozen text encoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from limner.core.needs import text_features
from limner.core.recipe import Objective
from limner.parts.encoders.clip import clip_places
from limner.parts.encoders.looks import each_of
from limner.parts.modifiers.states import changed_states, tensors_of

from .contrast import missed

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.adapted import Step
    from limner.core.base import Base
    from limner.core.recipe import Source
    from limner.parts.encoders.looks import Look
    from limner.parts.encoders.qformer import QueryFormer

TEMPERATURE = 0.07


def picture_text(source: Source, part: changed_states, former: QueryFormer) -> tuple[Objective, Objective]:
    """The sum of contrast and matching, over the patch tokens of CLIP.

    source: batches with references and captions
    part: the modifier with the image encoder's hidden states
    former: the query transformer
    """
    look = each_of(clip_places)
    return picture_text_contrast(source, part, former, look), picture_text_matching(source, part, former, look)


def picture_text_contrast(source: Source, part: changed_states, former: QueryFormer, look: Look) -> Objective:
    """InfoNCE both ways between pictures, read by queries without text, and captions' global features.

    The similarity of a picture and a text is that of the most similar query. Equal captions of a batch all count as
    right.

    source: batches with references and captions
    part: the modifier with the image encoder's hidden states
    former: the query transformer
    look: base and references -> hidden states of the image encoder
    """

    def value(step: Step) -> Tensor:
        own, seen, captions = _looked(step, part, look)
        alike = _alike(step.adapted.base, own, former(own, seen), captions) / TEMPERATURE
        right = _equal(captions).to(alike.device)
        return 0.5 * (missed(alike, right) + missed(alike.T, right.T))

    return Objective(
        f"picture-text contrast({source.name})", source, value, any_target=True, across=True, needs=(text_features,)
    )


def picture_text_matching(source: Source, part: changed_states, former: QueryFormer, look: Look) -> Objective:
    """Binary classification of matching captions, by the mean logit of queries that read picture and text.

    Negatives are a wrong caption and a wrong picture for every pair, drawn by similarity.

    source: batches with references and captions
    part: the modifier with the image encoder's hidden states
    former: the query transformer
    look: base and references -> hidden states of the image encoder
    """

    def value(step: Step) -> Tensor:
        import torch
        import torch.nn.functional as F

        base, (own, seen, captions) = step.adapted.base, _looked(step, part, look)
        with torch.no_grad():
            alike = _alike(base, own, former(own, seen), captions) / TEMPERATURE
            alike = alike.float().masked_fill(_equal(captions).to(alike.device), float("-inf"))
        usual = [k for k in range(len(captions)) if bool(alike[k].isfinite().any())]
        if not usual:
            return 0 * own["match.weight"].sum()
        texts = _drawn(alike[usual], step.random("wrong captions"))
        pictures = _drawn(alike.T[usual], step.random("wrong pictures"))
        rows = [*range(len(captions)), *usual, *pictures]
        words = _vectors(base, [*captions, *(captions[k] for k in texts), *(captions[k] for k in usual)])
        logits = former(own, seen[rows], words).mean(1) @ own["match.weight"]
        return F.binary_cross_entropy_with_logits(logits, (torch.arange(len(rows)) < len(captions)).to(logits))

    return Objective(
        f"picture-text matching({source.name})", source, value, any_target=True, across=True, needs=(text_features,)
    )


def _looked(step: Step, part: changed_states, look: Look) -> tuple[Mapping[str, Tensor], Tensor, list[str]]:
    """Parameters, image-encoder hidden states [B, L, F] of each row's first picture, captions."""
    import torch

    shown = step.batch.references
    assert shown is not None
    with torch.no_grad():
        seen = look(step.adapted.base, shown)[:, 0].to(step.adapted.base.dtype)
    return tensors_of(step.adapted, part), seen, [captions[0] for captions in shown.captions]


def _alike(base: Base, own: Mapping[str, Tensor], asked: Tensor, captions: Sequence[str]) -> Tensor:
    """[pictures, texts]: the greatest cosine over a picture's queries [B, queries, width]."""
    import torch
    import torch.nn.functional as F

    with torch.no_grad():
        texts = F.normalize(base.text_features(captions, words={}).float(), dim=-1)
    pictures = F.normalize(F.linear(asked, own["contrast.weight"]).float(), dim=-1)
    with torch.autocast(pictures.device.type, enabled=False):  # dividing by the temperature amplifies rounding
        return torch.einsum("bqd,td->bqt", pictures, texts.to(pictures)).amax(1)


def _equal(captions: Sequence[str]) -> Tensor:
    import torch

    known = {text: k for k, text in enumerate(captions)}
    numbers = torch.tensor([known[text] for text in captions])
    return numbers[:, None] == numbers


def _drawn(logits: Tensor, generator: Generator) -> list[int]:
    import torch

    indices: list[int] = torch.multinomial(logits.softmax(1).cpu(), 1, generator=generator)[:, 0].tolist()
    return indices


def _vectors(base: Base, captions: Sequence[str]) -> Tensor:
    """[B, n, D]: the input vectors of captions, zeros behind shorter ones."""
    import torch

    known = {text: base.word_vectors(text) for text in dict.fromkeys(captions)}
    return torch.nn.utils.rnn.pad_sequence([known[text] for text in captions], batch_first=True)
