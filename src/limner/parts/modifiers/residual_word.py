"""A vector added to a token's text-encoder hidden states (residual token embedding, Cones 2, arXiv:2305.19327)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from limner.core.types import Live

from .parameters import taken

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base


@dataclass(frozen=True)
class residual_word:
    """A token read as the class noun `like`, whose hidden states gain one learned vector [D], zero at first.

    Every other hidden state stays the same to the bit (Sec. 3.2 of arXiv:2305.19327). Residuals of several tokens in
    one prompt are each added at their own token, also where another concept encodes the prompt again.

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
