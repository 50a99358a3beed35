"""The common part of the pocket world's corpora of individuals: how many there are, their pictures and names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

NUM_VIEWS = 4


@dataclass(frozen=True)
class SeededCorpus:
    """NUM_VIEWS pictures of each individual; pictures k * NUM_VIEWS and following show individual k.

    individuals: number of individuals; 0 takes `usual`
    """

    plural: ClassVar[str]  # word for the individuals: "people"
    usual: ClassVar[int] = 256  # number of individuals where none is given
    beside: ClassVar[str] = ""  # end of the line that describes the corpus

    individuals: int = 0

    @property
    def name(self) -> str:
        return self.plural

    @property
    def fingerprint(self) -> str:
        return f"{self.plural}, {len(self.subjects)} of {NUM_VIEWS}, first edition"

    @property
    def record(self) -> Mapping[str, Any]:
        count = len(self.subjects)
        about = dict.fromkeys(("pictures", "captions", "masks"), count * NUM_VIEWS)
        named = {"name": self.name, "fingerprint": self.fingerprint, "subjects": count}
        return {**named, **about, "left_out": {}, "noticed": {}}

    def __str__(self) -> str:
        count = len(self.subjects)
        return f"{self.plural}: {count * NUM_VIEWS} pictures of {count} {self.plural}{self.beside}"

    @property
    def subjects(self) -> Sequence[Sequence[int]]:
        count = self.individuals or self.usual
        return [range(k * NUM_VIEWS, (k + 1) * NUM_VIEWS) for k in range(count)]
