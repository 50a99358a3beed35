"""A relation's token steered towards words for relations, away from those for the things that it relates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from limner.core.recipe import Objective
from limner.core.word_classes import PREPOSITIONS, VERBS, WordClass, content_words, word_class
from limner.errors import InputError
from limner.parts.modifiers.words import one_token_vectors

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Step
    from limner.core.recipe import Source

STEERING = "relation steering"
RELATIONAL: dict[WordClass, tuple[str, ...]] = {"preposition": PREPOSITIONS, "verb": VERBS}
"""Classes of words for relations -> the words."""
EVENLY: dict[WordClass, float] = {"preposition": 1.0, "noun": 1.0, "adjective": 1.0, "verb": 1.0}


def steering(
    source: Source,
    *,
    word: str,
    towards: tuple[WordClass, ...] = ("preposition",),
    weights: Mapping[WordClass, float] = EVENLY,
    positives: int = 4,
    temperature: float = 0.07,
) -> Objective:
    """Relation-steering contrast (Sec. 4.2 of arXiv:2303.13495) on the input vectors of words.

    The value is -log of the share of positives in the weighted sum of exp(cosine / temperature) over positives and
    negatives. Positives are drawn anew in every update; negatives are the content words of the batch's captions that
    are of no class in `towards`. Words that the base does not know as one token are left out. Raises `InputError` on a
    base that knows no positive.

    source: batches whose prompts name the token and the things that it relates
    word: the placeholder token, of one vector
    towards: classes of the positives, of RELATIONAL
    weights: class -> weight of its words in the sums; 0 leaves them out
    positives: number of positives in an update
    temperature: divisor of the cosines, above 0
    """

    def value(step: Step) -> Tensor:
        import torch

        pool = _vectors(step, [w for kind in towards for w in RELATIONAL[kind]], weights)
        if not pool:
            raise InputError(
                f"{step.adapted.base.name} knows none of the words for relations ({', '.join(towards)}) as one token, "
                "which this method steers towards: leave the steering out (its weight 0), or use another base"
            )
        chosen = torch.randperm(len(pool), generator=step.random("positives"))[:positives].tolist()
        near = [list(pool)[k] for k in chosen]
        content = dict.fromkeys(w for prompt in step.batch.prompts for w in content_words(prompt))
        far = _vectors(step, (w for w in content if word_class(w) not in towards), weights)
        vectors = torch.cat([*(pool[w] for w in near), *far.values()])
        shares = torch.tensor([weights[word_class(w)] for w in (*near, *far)], device=vectors.device)
        own = step.adapted.words[word].float()
        logits = torch.cosine_similarity(own, vectors.float()) / temperature + shares.log()
        return torch.logsumexp(logits, 0) - torch.logsumexp(logits[: len(near)], 0)

    return Objective(f"{STEERING}({source.name})", source, value, any_target=True, across=True)


def _vectors(step: Step, words: Iterable[str], weights: Mapping[WordClass, float]) -> dict[str, Tensor]:
    """The input vector [1, D] of each word that has a weight and is one token of the base."""
    cache = step.adapted.cache.setdefault(STEERING, {})
    counted = [word for word in words if weights.get(word_class(word), 0.0) > 0]
    if new := [word for word in counted if word not in cache]:
        known = one_token_vectors(step.adapted.base, new)
        cache.update({word: known.get(word) for word in new})
    return {word: cache[word] for word in counted if cache[word] is not None}
