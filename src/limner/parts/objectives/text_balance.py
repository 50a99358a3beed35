"""A learned word and the words around it, balanced within the text encoder (PersonaMagic, arXiv:2412.15674)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from limner.core.recipe import Objective
from limner.errors import InputError

from .context import CONTEXTS

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Step
    from limner.core.base import Base
    from limner.core.recipe import Source


def text_balance(source: Source, *, word: str, contexts: Sequence[str] = CONTEXTS) -> Objective:
    """-p q, where p and q are the softmax of the two shares of the text encoder's attention that its end token gives to
    the word and to the strongest of the other words, the mean over layers and heads (tandem equilibrium, Sec. 3.3).
    Least where both are alike.

    The word's vectors are those of the first row of the update that has them.

    source: what the stage learns from
    word: a word that varies with the time
    contexts: prompts that need no pictures, with {} for the word
    """

    def value(step: Step) -> Tensor:
        import torch

        vectors = _vectors(step, word)
        text = contexts[int(torch.randint(len(contexts), (), generator=step.random("context")))].format(word)
        own, strongest = shares(step.adapted.base, text, word, vectors)
        p, q = torch.stack([own, strongest]).softmax(0)
        return -p * q

    return Objective(f"text balance({source.name})", source, value, across=True)


def shares(base: Base, text: str, word: str, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Two shares of the end token's attention in a text: that of a word of these vectors [n, D], and the largest of any
    other word's."""
    import torch

    maps: list[Tensor] = []
    words = {word: vectors}
    with ExitStack() as stack:
        for layer in base.text_attention():
            stack.enter_context(layer.watched(maps.append))
        base.text_states([text], words=words)
    end = 1 + base.num_tokens(text, words=words)
    given = torch.stack([m[0, :, end].float().mean(0) for m in maps]).mean(0)
    begin = base.word_places(text, word, words=words)[0]
    mine = list(range(begin, begin + len(vectors)))
    others = [place for place in range(1, end) if place not in mine]
    return given[mine].sum(), given[others].max()


def _vectors(step: Step, word: str) -> Tensor:
    from limner.parts.modifiers.states import PUT

    kept = step.prediction.kept
    put = kept.cache.get(PUT, {}).get(word, {}) if kept is not None else {}
    if not put:
        raise InputError(
            f"no row of {step.batch.prompts} has vectors of its own for {word}, which this objective balances"
        )
    found: Tensor = next(iter(put.values()))(0)
    return found
