"""A token held near its start vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.core.recipe import Objective

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Step
    from limner.core.recipe import Source
    from limner.parts.modifiers.words import new_word


def near_begin(source: Source, word: new_word) -> Objective:
    """Mean over a token's vectors of their distance, not squared, from their start.

    This is the regulariser of arXiv:2312.15905.

    source: batches that the stage learns from; they are not used
    word: a token with a `begin`
    """

    def value(step: Step) -> Tensor:
        adapted = step.adapted
        key = ("began as", word.word)
        if key not in adapted.cache:
            assert word.begin is not None
            adapted.cache[key] = word.begin(adapted.base).float()
        apart = adapted.words[word.word].float() - adapted.cache[key]
        # the norm has no gradient at zero, where every run starts
        distance: Tensor = apart.square().sum(-1).add(1e-12).sqrt().mean()
        return distance

    return Objective(f"near its beginning({source.name})", source, value, any_target=True)
