"""A vector added to the text states of a word, after the text encoder has run (residual token embedding, Cones 2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .kept import taken
from .states import changed_states, other_words

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.types import Pass

    from .states import Making, Rewrite


def residual_word(word: str, noun: str) -> changed_states:
    """`word` is read as the class noun, whose text states gain one learned vector [D], zero at first; every other state stays as it is
    to the bit (Sec. 3.2 of arXiv:2305.19327). Residuals of several words in one prompt add up.

    Args:
        word: the handle, as prompts write it.
        noun: its class noun.
    """
    return changed_states(word, noun, _residual(word))


def _residual(word: str) -> Making:
    def making(base: Base, stored: Mapping[str, Tensor], generator: Generator) -> tuple[dict[str, Tensor], Rewrite]:
        import torch

        own = taken({"residual": torch.zeros(base.states_shape[1])}, stored, base, what="the residual")

        def rewrite(own: Mapping[str, Tensor], states: Tensor, rows: list[int], run: Pass, scale: float) -> Tensor:
            on = torch.zeros(*states.shape[:2], 1, device=states.device, dtype=states.dtype)
            for k, row in enumerate(rows):
                words = other_words(run, row)
                for start in base.word_places(run.prompts[row], word, words=words):
                    on[k, start : start + len(words[word])] = 1
            return states + scale * on * own["residual"].to(states)

        rewrite.composes = True  # type: ignore[attr-defined]  # functions stay functions; `changed_states` reads it
        return own, rewrite

    return making
