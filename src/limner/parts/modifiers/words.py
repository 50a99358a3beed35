"""Tokens of subjects: learned ones, and rare ones that the base already has."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from limner.core.streams import stream
from limner.core.types import Live
from limner.errors import FileError, InputError

from .parameters import taken

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject


@dataclass(frozen=True)
class new_word:
    """A placeholder token of `num_vectors` learned input vectors [n, D], which start as those of `like`.

    Source: Textual Inversion, Sec. 4 of arXiv:2208.01618 (S* initialised with a coarse class word, of one token there).
    Where `like` has fewer tokens than vectors are wanted, its vectors repeat; where it has more, each vector starts as
    the mean of several, in their mean length. Raises `InputError` for an empty `like`.

    word: the token
    like: text of the start vectors, or a function of the base that gives it
    num_vectors: number of vectors per token; 0 is as many as `like` has
    keep_length: whether the vectors are scaled to their length at the start
    begin: base -> other vectors [n, D] to start from; `like` then stands for the token where the adapter is not
        attached
    """

    word: str
    like: str | Callable[[Base], str]
    num_vectors: int = 1
    keep_length: bool = False
    begin: Callable[[Base], Tensor] | None = None

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        import torch

        like = self.like if isinstance(self.like, str) else self.like(base)
        start = base.word_vectors(like)
        if not len(start):
            raise InputError(f"the word to start {self.word} from is empty; give a class noun such as 'dog'")
        vectors = resized(start, self.num_vectors)
        name = f"word.{self.word}"
        learned = stored[name] if name in stored else vectors if self.begin is None else self.begin(base)
        if learned.shape != vectors.shape:
            raise FileError(f"{name} is {tuple(learned.shape)} in the concept; this base wants {tuple(vectors.shape)}")
        parameter = torch.nn.Parameter(learned.detach().clone().to(vectors), requires_grad=False)
        length = vectors.norm(dim=-1, keepdim=True)

        def read() -> Tensor:
            now = parameter / parameter.norm(dim=-1, keepdim=True) * length if self.keep_length else parameter
            return now if scale == 1 else vectors + scale * (now - vectors)

        yield Live(tensors={name: parameter}, words={self.word: read})

    @classmethod
    @contextmanager
    def stacked(
        cls,
        base: Base,
        own: Sequence[new_word],
        stored: Sequence[Mapping[str, Tensor]],
        generators: Sequence[Generator],
        scales: Sequence[float],
        rows: Any,
        places: Sequence[int],
    ) -> Iterator[list[Live]]:
        """Tokens of several subjects: each is a parameter of its own, since nothing of a base is changed."""
        with ExitStack() as stack:
            yield [
                stack.enter_context(word(base, stored=tensors, generator=generator, scale=scale))
                for word, tensors, generator, scale in zip(own, stored, generators, scales, strict=True)
            ]


def resized(vectors: Tensor, count: int) -> Tensor:
    """[count, D]: as many vectors as wanted, made from [n, D] by repeating them or by taking means of neighbours.

    A mean has the mean length of its vectors.

    vectors: [n, D], n at least 1
    count: number of vectors; 0 is n
    """
    import torch

    if not count or count >= len(vectors):
        return vectors[torch.arange(count or len(vectors)) % len(vectors)]
    groups = torch.tensor_split(vectors, count)
    means = torch.stack([group.mean(0) for group in groups])
    lengths = torch.stack([group.norm(dim=-1).mean() for group in groups])
    return means / means.norm(dim=-1, keepdim=True).clamp_min(1e-8) * lengths[:, None]


@dataclass(frozen=True)
class picture_words:
    """A token for each of the subject's pictures, `<rex-context-0>` and so on, for the content of that picture alone.

    The tokens are trained, and left out of prompts afterwards.

    subject: the subject with its pictures
    start: text whose vectors they start as
    """

    subject: Subject
    start: str = "a photo of"

    def name(self, picture: int) -> str:
        return f"{self.subject.handle[:-1]}-context-{picture}>"

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        plain, live = base.word_vectors(self.start), Live()
        for name in map(self.name, range(len(self.subject.pictures))):
            own = taken({f"word.{name}": plain}, stored, base, what=name)
            live.tensors |= own
            live.words[name] = own[f"word.{name}"]
        yield live


def random_start(handle: str) -> Callable[[Base], Tensor]:
    """Base -> one random vector [1, D], to start a token from: it means nothing before it learns.

    Each value is normal with the mean and the standard deviation of its column over the vocabulary. Source: the tokens
    of Continual Diffusion, which start from random embeddings and stand without the class noun (arXiv:2304.06027).

    handle: the subject's word, by which the vector is drawn
    """

    def draw(base: Base) -> Tensor:
        import torch

        table = base.word_table().detach().float()  # [V, D]
        normal = torch.randn(1, table.shape[1], generator=stream(0, "random token", handle)).to(table)
        return table.mean(0) + table.std(0) * normal

    return draw


def rare_word(handle: str, *, unlike: Sequence[str] = ()) -> Callable[[Base], str]:
    """Base -> one of its rare tokens, chosen by the handle so that two subjects seldom share one.

    Raises `InputError` on a base without rare tokens, or with too few.

    handle: the subject's word
    unlike: handles of one concept, in order, whose tokens are taken already: the next one that is free is chosen
    """

    def choose(base: Base) -> str:
        rare = base.rare_words
        if not rare:
            raise InputError(f"{base.name} names no rare words; use a method that learns a word of its own")
        if len(unlike) >= len(rare):
            raise InputError(f"{base.name} names {len(rare)} rare words, too few for {len(unlike) + 1} in one concept")
        taken = {rare_word(other, unlike=unlike[:k])(base) for k, other in enumerate(unlike)}
        first = zlib.crc32(handle.encode())
        words = (rare[(first + k) % len(rare)] for k in range(len(rare)))
        return next(word for word in words if word not in taken)

    return choose


def rare_word_and(noun: str, *, handle: str, unlike: Sequence[str] = ()) -> Callable[[Base], str]:
    """Base -> a rare token before the class noun, "sks dog" (DreamBooth, Sec. 3.2 of arXiv:2208.12242).

    noun: the class noun
    handle: the subject's word, by which the rare token is chosen
    unlike: handles of one concept whose tokens are taken already
    """
    return lambda base: f"{rare_word(handle, unlike=unlike)(base)} {noun}"


def real_words(base: Base) -> Tensor:
    """[V, D]: the input vectors of all words that the base knows as one token. Raises `InputError` where there are
    none.

    base: the base
    """
    import torch

    known, room = sorted(word for word in base.vocabulary if word.isalpha() and len(word) > 1), base.max_tokens
    parts = [known[start : start + room] for start in range(0, len(known), room)]
    vectors = [base.word_vectors(" ".join(part)) for part in parts]
    one_token_vectors = [
        part_vectors for part_vectors, part in zip(vectors, parts, strict=True) if len(part_vectors) == len(part)
    ]
    if not one_token_vectors:
        raise InputError(f"{base.name} knows no whole words as one token, which this method needs to find the nearest")
    return torch.cat(one_token_vectors)


def one_token_vectors(base: Base, words: Iterable[str]) -> dict[str, Tensor]:
    """The input vector [1, D] of each of these words that the base knows as one token.

    base: the base
    words: words in small letters
    """
    vectors = {word: base.word_vectors(word).detach() for word in words if word in base.vocabulary}
    return {word: vector for word, vector in vectors.items() if len(vector) == 1}


def nearest(vectors: Tensor, table: Tensor, count: int) -> Tensor:
    """[…, count, D]: for each vector, the rows of the table with the largest cosine to it, the largest first.

    vectors: […, D]
    table: [V, D]
    count: number of rows for each vector, from 1 to V
    """
    import torch.nn.functional as F

    table = table.to(vectors)
    alike = F.normalize(vectors, dim=-1) @ F.normalize(table, dim=-1).T
    return table[alike.topk(count).indices]
