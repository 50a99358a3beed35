"""A learned token and the words around it, balanced within the text encoder (PersonaMagic, arXiv:2412.15674)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from limner.core.needs import text_attention
from limner.core.recipe import Objective
from limner.errors import InputError

from .context import CONTEXTS

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Step
    from limner.core.base import Base
    from limner.core.recipe import Source


def text_balance(source: Source, *, word: str, contexts: Sequence[str] = CONTEXTS) -> Objective:
    """-p q, with p and q the softmax of two shares of the end token's attention in the text encoder (tandem
    equilibrium).

    The shares are that of the token and that of the strongest other word, each the mean over layers and heads (Sec. 3.3
    of arXiv:2412.15674). The value is least where both are equal. The token's vectors are those of the first row of the
    update that has them. Raises `InputError` where no row has vectors of the token.

    source: batches that the stage learns from
    word: a placeholder token whose vectors vary with the time
    contexts: prompts that need no pictures, with {} for the token
    """

    def value(step: Step) -> Tensor:
        import torch

        vectors = _vectors(step, word)
        text = contexts[int(torch.randint(len(contexts), (), generator=step.random("context")))].format(word)
        own, strongest = shares(step.adapted.base, text, word, vectors)
        p, q = torch.stack([own, strongest]).softmax(0)
        return -p * q

    return Objective(f"text balance({source.name})", source, value, across=True, needs=(text_attention,))


def shares(base: Base, text: str, word: str, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Two shares of the end token's attention in a text: that of the token, and the largest of any other word.

    base: the base
    text: the prompt, with the token
    word: the token
    vectors: the token's vectors [n, D]
    """
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

    run = step.prediction.run
    put = run.cache.get(PUT, {}).get(word, {}) if run is not None else {}
    if not put:
        raise InputError(
            f"no row of {step.batch.prompts} has vectors of its own for {word}, which this objective balances"
        )
    vectors: Tensor = next(iter(put.values()))(0)
    return vectors
