"""References of a garment and a picture of somebody in it: batches for pre-training try-on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from limner.core.recipe import Source
from limner.errors import InputError

from .pairs import pairs

if TYPE_CHECKING:
    from limner.core.base import Base
    from limner.core.corpus import Corpus
    from limner.core.types import Batch, Streams


def pairs_of_garments(*, name: str = "pairs of garments", **about: Any) -> Source:
    """`pairs` of the base's corpus of garments, or of another given to the pre-training.

    name: name of the source; sources of another name draw other pictures
    about: further arguments of `pairs`
    """

    def over(corpus: Corpus) -> Source:
        return pairs(corpus=corpus, name=name, **about)

    def prepare(base: Base) -> Callable[[int, Streams], Batch]:
        return over(garments_of(base)).prepare(base)

    return Source(name, "corpus", prepare, over=over, corpus=garments_of)


def garments_of(base: Base) -> Corpus:
    """The corpus of garments that comes with a base. Raises `InputError` where none comes with it.

    base: the base
    """
    corpus = base.capabilities.garments
    if corpus is None:
        raise InputError(
            f"this method is trained on pictures of many garments, each on several people, and none come with "
            f"{base.name}: name a corpus with their masks (--corpus FOLDER)"
        )
    return corpus
