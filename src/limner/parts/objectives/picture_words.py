"""Tokens made of pictures, held among the words that the base knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from limner.core.recipe import Objective
from limner.errors import InputError
from limner.parts.modifiers.states import rows_with
from limner.parts.modifiers.words import nearest, real_words

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Step
    from limner.core.recipe import Source


def among_words(source: Source, *, word: str, count: int = 10, temperature: float = 0.1) -> Objective:
    """Contrastive regulariser of arXiv:2307.06925: nearest real words against tokens of other subjects in the batch.

    The value is -log of the share of the nearest words in the sum of exp(cosine / temperature). Rows of one subject are
    no negatives of each other. Count and temperature are ours.

    source: batches with references
    word: the placeholder token
    count: number of nearest words
    temperature: divisor of the cosines, above 0
    """

    def value(step: Step) -> Tensor:
        import torch
        import torch.nn.functional as F

        words_by_row, rows = _read_tensor(step, "picture words"), _rows(step, word)
        vectors, references = words_by_row.float().flatten(0, 1), step.batch.references
        who = (
            torch.arange(len(words_by_row))
            if references is None or references.identity is None
            else references.identity
        )
        who = who[rows].repeat_interleave(words_by_row.shape[1]).to(vectors.device)
        with torch.no_grad():
            near = nearest(vectors, _real_words(step), count)
        to_near = F.cosine_similarity(vectors[:, None], near, dim=-1) / temperature  # [n, count]
        others = F.cosine_similarity(vectors[:, None], vectors[None], dim=-1) / temperature  # [n, n]
        others = others.masked_fill(who[:, None] == who[None], float("-inf"))
        everything = torch.cat([to_near, others], 1).logsumexp(1)
        return (everything - to_near.logsumexp(1)).mean()

    return Objective(f"among words({source.name})", source, value, across=True)


def short(source: Source, what: Literal["picture words", "word offset"]) -> Objective:
    """Mean squared length of tokens made of pictures, relative to that of real words (regulariser of E4T,
    arXiv:2302.12228).

    source: batches with references
    what: the tokens themselves, or their offsets from the words they start from
    """

    def value(step: Step) -> Tensor:
        usual = _real_words(step).float().square().sum(-1).mean()
        return _read_tensor(step, what).float().square().sum(-1).mean() / usual

    return Objective(f"short {what}({source.name})", source, value, across=True)


def _read_tensor(step: Step, what: str) -> Tensor:
    run = step.prediction.run
    if run is None or what not in run.activations:
        raise InputError(f"no attached adapter makes {what} from pictures, which this objective needs")
    return run.activations[what]


def _real_words(step: Step) -> Tensor:
    """[V, D], computed once while the recipe is attached."""
    cache = step.adapted.cache
    if "real words" not in cache:
        cache["real words"] = real_words(step.adapted.base)
    vectors: Tensor = cache["real words"]
    return vectors


def _rows(step: Step, word: str) -> list[int]:
    run = step.prediction.run
    assert run is not None
    return rows_with(word, run)
