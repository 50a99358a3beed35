"""Penalties on tokens that are mixtures of known words (CusConcept, arXiv:2410.00398)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.parts.modifiers.mixed_word import mixture
from limner.parts.modifiers.parameters import under

from .denoising import penalty

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Adapted
    from limner.core.recipe import Objective, Source
    from limner.parts.modifiers.mixed_word import mixed_word


def near_mixture(source: Source, part: mixed_word) -> Objective:
    """The squared length of a token's offset from its mixture.

    source: source of the updates in which it counts
    part: the token
    """

    def length(adapted: Adapted) -> Tensor:
        return adapted.live[part].tensors[f"{part.prefix}offset"].square().sum()

    return penalty(source, name=f"near the mixture of {part.word}", of=length)


def near_top_words(source: Source, part: mixed_word, largest: int) -> Objective:
    """One less the inner product of a token's whole mixture and the mixture of its largest weights alone.

    source: source of the updates in which it counts
    part: the token
    largest: number of words with the largest weights
    """

    def apart(adapted: Adapted) -> Tensor:
        own = under(part.prefix, adapted.live[part].tensors)
        return 1 - (mixture(own) * mixture(own, largest=largest)).sum()

    return penalty(source, name="near the top words", of=apart)
