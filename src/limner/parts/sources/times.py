"""Sources restricted to part of the diffusion times."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from limner.core.corpus import Corpus
    from limner.core.recipe import Source


def at_times(source: Source, first: float, last: float) -> Source:
    """The same source, with times drawn between two shares of the base's.

    Raises `ValueError` unless 0 <= first < last <= 1.

    source: the source
    first: least share of the times, from 0, where pictures are clean
    last: largest share of the times, up to 1, where they are noise
    """
    if not 0 <= first < last <= 1:
        raise ValueError(f"times are between two rising shares from 0 to 1, not {first} and {last}")
    again = source.over

    def over(corpus: Corpus) -> Source:
        assert again is not None
        return at_times(again(corpus), first, last)

    return replace(source, times=(first, last), over=over if again else None)
