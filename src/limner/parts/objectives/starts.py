"""A word held near the vectors it started as."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.core.recipe import Objective

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Step
    from limner.core.recipe import Source
    from limner.parts.modifiers.words import new_word


def near_begin(source: Source, word: new_word) -> Objective:
    """The mean over a word's vectors of their distance, not squared, to those they began as (the regulariser of
    arXiv:2312.15905).

    source: what the stage learns from; nothing of it is looked at
    word: a word with a `begin`
    """

    def value(step: Step) -> Tensor:
        adapted = step.adapted
        key = ("began as", word.word)
        if key not in adapted.kept:
            assert word.begin is not None
            adapted.kept[key] = word.begin(adapted.base).float()
        apart = adapted.words[word.word].float() - adapted.kept[key]
        # the root of the squared length has no slope at its beginning, where every run is at first
        distance: Tensor = apart.square().sum(-1).add(1e-12).sqrt().mean()
        return distance

    return Objective(f"near its beginning({source.name})", source, value, any_target=True)
