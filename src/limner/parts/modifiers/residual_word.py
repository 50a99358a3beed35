"""A vector added to the text states of a word, after the text encoder has run (residual token embedding, Cones 2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from limner.core.types import Live

from .kept import taken

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base


@dataclass(frozen=True)
class residual_word:
    """`word` is read as the class noun `like`, whose text states gain one learned vector [D], zero at first; every
    other state stays as it is to the bit (Sec. 3.2 of arXiv:2305.19327). Residuals of several words in one prompt are
    each added at their own word, also where another concept has the prompt read anew.

    word: the handle, as prompts write it
    like: its class noun
    """

    word: str
    like: str

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        import torch

        key = f"residual.{self.word}.states"
        own = taken({key: torch.zeros(base.states_shape[1])}, stored, base, what="the residual")
        live = Live(dict(own), {self.word: base.word_vectors(self.like)})
        if scale:
            live.residuals[self.word] = lambda: scale * own[key]
        yield live
