"""Contrastive objectives: the meaning of a token relative to other words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from limner.core.recipe import Objective
from limner.errors import InputError
from limner.parts.modifiers.states import next_place
from limner.parts.sources.everyday import LOOKS, NOUNS

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Step
    from limner.core.base import Base
    from limner.core.recipe import Source


def contrast(
    source: Source, *, word: str, near: Sequence[str], far: Sequence[str], temperature: float = 0.1
) -> Objective:
    """InfoNCE of a token's hidden state with those of near words against those of far words.

    This is the context loss of Lego (arXiv:2311.13833; neither code nor weights are public). The state of a text is
    that of its end token.

    source: gives step and random stream; its pictures are not used
    word: the placeholder token
    near: words with a similar meaning
    far: words with another meaning; empty is everyday words with the least similar hidden states
    temperature: divisor of the cosines
    """
    if not near:
        raise InputError("contrast needs words near the concept: name one, such as its class noun")

    others = {"": tuple(far)} if far else {}

    def value(step: Step) -> Tensor:
        import torch

        base, words = step.adapted.base, step.adapted.words
        key = "" if far else base.fingerprint
        if key not in others:
            others[key] = tuple(unlike(base, near))
        with torch.no_grad():
            known = pooled(base, [*near, *others[key]], words={})
        own = pooled(base, [word], words=words)
        alike = torch.cosine_similarity(own, known) / temperature
        return torch.logsumexp(alike, 0) - torch.logsumexp(alike[: len(near)], 0)

    return Objective(f"contrast({source.name})", source, value)


FAR = 8
"""Number of everyday words that stand for all other meanings."""


def unlike(base: Base, near: Sequence[str], count: int = FAR) -> list[str]:
    """Everyday nouns and adjectives whose hidden states are least similar to those of some words.

    Words that the base does not know are left out, where its vocabulary is small.

    base: the base
    near: the words
    count: number of nouns and adjectives
    """
    import torch

    known = base.capabilities.known_words() if base.capabilities.known_words else {*NOUNS, *LOOKS}
    words = [word for word in (*NOUNS, *LOOKS) if word in known and word not in near]
    with torch.no_grad():
        own, others = pooled(base, near, words={}), pooled(base, words, words={})
        alike = torch.cosine_similarity(others[:, None], own[None], dim=-1).amax(1)
    return [words[k] for k in alike.argsort()[:count].tolist()]


def missed(logits: Tensor, right: Tensor) -> Tensor:
    """InfoNCE with several right columns in a row, which share the target evenly (Eq. 2 of arXiv:2004.11362).

    Rows without a right column do not count.

    logits: [B, n]
    right: [B, n] bool
    """
    there = right.any(1)
    share = logits.log_softmax(1).masked_fill(~right, 0).sum(1)[there] / right.sum(1)[there]
    return -share.sum() / there.sum().clamp_min(1)


def pooled(base: Base, texts: Sequence[str], *, words: dict[str, Tensor]) -> Tensor:
    """[n, D]: the hidden state of each text at its end token.

    base: the base
    texts: the texts
    words: placeholder tokens in them, with their vectors
    """
    import torch

    states = base.text_states(texts, words=words).float()
    ends = torch.tensor([next_place(base, text, words) for text in texts], device=states.device)
    return states[torch.arange(len(ends), device=states.device), ends]
