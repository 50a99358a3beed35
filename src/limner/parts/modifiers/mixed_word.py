"""A token that is a mixture of words that the base knows, and then departs from it (CusConcept, arXiv:2410.00398)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from limner.core.types import Live
from limner.core.word_classes import ADJECTIVES, word_class
from limner.core.wording import listed
from limner.errors import InputError
from limner.parts.encoders.clip import word_similarities

from .parameters import prefixed, taken, under
from .subspace_word import MOST_WORDS
from .words import one_token_vectors, resized

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject

WORDS, OFFSET = "words", "offset"
"""Names of tensors: vectors [n, D] of a mixture's words; the offset [1, D], half of which is added to the mixture."""


@dataclass(frozen=True)
class mixed_word:
    """e = m + o / 2 with m the sum of a_i w_i, scaled to the mean length of the vocabulary's vectors.

    w_i are the vectors of known words, and the weights a_i, above 0 and below 1, come from a network of two layers that
    reads w_i (Sec. 3.2 of arXiv:2410.00398). The offset o is 0 at first. With f = m + o for the authors' free vector,
    e is their (f + m) / 2.

    word: the token
    like: text that is read in its place where the adapter is not attached
    choose: base -> the words of the mixture, each one token; they are stored with the concept
    largest: number of words with the largest weights that are summed; 0 is all
    width: width of the network's hidden layer
    """

    word: str
    like: str
    choose: Callable[[Base], Sequence[str]]
    largest: int = 0
    width: int = 512
    num_vectors = 1

    @property
    def prefix(self) -> str:
        return f"word.{self.word}."

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        import torch

        given, plain = under(self.prefix, stored), resized(base.word_vectors(self.like), 1)
        vectors = given[WORDS].to(plain) if WORDS in given else torch.cat(_vectors(base, self.choose(base)))
        wide, deep = vectors.shape[-1], self.width
        start = {
            "in": torch.randn(deep, wide, generator=generator) / float(vectors.float().norm(dim=-1).mean()),
            "in_bias": torch.zeros(deep),
            "out": torch.randn(1, deep, generator=generator) / deep**0.5,
            "out_bias": torch.zeros(1),
            OFFSET: torch.zeros(1, wide),
        }
        own = taken(start, given, base, what=self.word)
        own[WORDS] = vectors
        length = base.word_table().detach().float().norm(dim=-1).mean()

        def read() -> Tensor:
            now = (mixture(own, largest=self.largest) * length + own[OFFSET].float() / 2).to(plain)
            return now if scale == 1 else plain + scale * (now - plain)

        yield Live(tensors=prefixed(self.prefix, own), words={self.word: read})


def mixture(own: Mapping[str, Tensor], *, largest: int = 0) -> Tensor:
    """[1, D]: the direction of the weighted sum of a mixture's words.

    own: tensors of the mixture, without their prefix
    largest: number of words with the largest weights that are summed; 0 is all
    """
    import torch.nn.functional as F

    vectors, weights = own[WORDS].float(), word_weights(own)
    if largest:
        weights, rows = weights.topk(min(largest, len(weights)))
        vectors = vectors[rows]
    return F.normalize(weights[None] @ vectors, dim=-1)


def word_weights(own: Mapping[str, Tensor]) -> Tensor:
    """[n]: the weight of each of a mixture's words, above 0 and below 1.

    own: tensors of the mixture, without their prefix
    """
    import torch.nn.functional as F

    hidden = F.relu(F.linear(own[WORDS], own["in"], own["in_bias"]))
    return F.linear(hidden, own["out"], own["out_bias"])[:, 0].float().sigmoid()


def _vectors(base: Base, words: Sequence[str]) -> list[Tensor]:
    known = one_token_vectors(base, words)
    if not known:
        raise InputError(
            f"{base.name} knows none of these words as one token: {listed(words)}; a mixture needs one or more that it knows"
        )
    return list(known.values())


def nouns_shown(subject: Subject, count: int) -> Callable[[Base], Sequence[str]]:
    """Base -> the nouns of its vocabulary that are most similar to a subject's pictures by CLIP, the class noun's
    words among them.

    A word that is in no list of another word class counts as a noun. In a large vocabulary, the MOST_WORDS nouns whose
    vectors are nearest to the class noun's are compared. Raises `InputError` on a base whose CLIP compares no texts
    with pictures.

    subject: the subject with its pictures
    count: number of nouns
    """

    def choose(base: Base) -> Sequence[str]:
        import torch

        known = base.capabilities.known_words() if base.capabilities.known_words else base.vocabulary
        nouns = [w for w in sorted(known) if w.isalpha() and len(w) > 2 and word_class(w) == "noun"]
        vectors = one_token_vectors(base, nouns)
        if not subject.pictures or len(vectors) <= count:
            return list(vectors)[:count]
        noun = resized(base.word_vectors(subject.noun), 1)
        near = torch.cosine_similarity(torch.cat(list(vectors.values())), noun).topk(min(MOST_WORDS, len(vectors)))
        nouns = [list(vectors)[k] for k in near.indices.tolist()]
        alike = word_similarities(base, subject.tensor(base.picture_size), nouns).mean(0)
        nearest = [nouns[k] for k in alike.topk(count).indices.tolist()]
        return list(dict.fromkeys([*(word for word in subject.noun.split() if word in nouns), *nearest]))[:count]

    return choose


def adjectives(axis: str, words: str) -> Callable[[Base], Sequence[str]]:
    """Words for an attribute, for `mixed_word`. Raises `InputError` for an unknown kind, and for a kind beside words.

    axis: kind of the attribute (`core.word_classes.ADJECTIVES`); empty is all of them
    words: the user's own words in their place, with commas between them
    """
    own = [word.strip().lower() for word in words.split(",") if word.strip()]
    if own and axis:
        raise InputError("axis and attributes both choose the words for the attribute: give one of them")
    if axis and axis not in ADJECTIVES:
        raise InputError(f"the axis must be one of {', '.join(ADJECTIVES)}, or empty, not {axis[:100]!r}")
    every = own or [word for kind in ([axis] if axis else ADJECTIVES) for word in ADJECTIVES[kind]]
    return lambda base: every
