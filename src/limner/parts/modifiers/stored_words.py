"""A token whose vectors are read from a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from limner.core.types import Live
from limner.errors import FileError

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base


@dataclass(frozen=True)
class stored_word:
    """The stored vectors `word.WORD` [n, D]; a strength below 1 interpolates from the vectors of `like`.

    Raises `FileError` for missing vectors and for vectors of another width than the base's.

    word: the token
    like: text whose vectors it interpolates from
    """

    word: str
    like: str

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        name = f"word.{self.word}"
        if name not in stored:
            raise FileError(f"the concept has no vectors of its word {self.word}")
        vectors = stored[name].to(base.device, base.dtype)
        start = base.word_vectors(self.like)
        wide = start.shape[1]
        if vectors.ndim != 2 or vectors.shape[1] != wide:
            raise FileError(
                f"{name} is {tuple(vectors.shape)} in the file and this base reads vectors of {wide}: it is of another base"
            )
        if scale != 1:
            plain = start[[k % len(start) for k in range(len(vectors))]]
            vectors = plain + scale * (vectors - plain)
        yield Live(tensors={name: stored[name]}, words={self.word: vectors})
