"""References and a target picture of one style: batches for pre-training style encoders."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from limner.core.recipe import Source

from .corpus import corpus_of
from .pairs import pairs

if TYPE_CHECKING:
    from limner.core.base import Base
    from limner.core.corpus import Corpus
    from limner.core.types import Batch, Streams


def pairs_of_styles(*, name: str = "pairs of styles", **about: Any) -> Source:
    """`pairs` of the base's corpus of styles, whose subjects are styles and whose captions name what a picture shows.

    A base without such a corpus lends its corpus of subjects. Another corpus given to the pre-training has a folder of
    pictures for each artist or style, or for each single picture.

    name: name of the source; sources of another name draw other pictures
    about: further arguments of `pairs`
    """

    def prepare(base: Base) -> Callable[[int, Streams], Batch]:
        return pairs(corpus=styles_of(base), name=name, **about).prepare(base)

    def over(corpus: Corpus) -> Source:
        return pairs(corpus=corpus, name=name, **about)

    return Source(name, "corpus", prepare, over=over, corpus=styles_of)


def styles_of(base: Base) -> Corpus:
    """The corpus of styles that comes with a base, else its corpus of subjects. Raises `InputError` where there is
    neither.

    base: the base
    """
    return base.capabilities.styles or corpus_of(base, None)
