"""Mappers from features of pictures to tokens, for `words_of_pictures`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from limner.parts.encoders.perceptron import perceptron, perceptron_start

from .words_of_pictures import Mapped

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.types import Pass


@dataclass(frozen=True)
class one_word:
    """One global embedding [B, D] -> one token [B, 1, D']: a learned vector plus a perceptron of the embedding.

    The vector starts as that of `start`, and the addition with a tenth of the vocabulary's standard deviation.

    start: word whose vector the token starts as
    hidden: width of the perceptron
    norm: length of the token in sampling, as a multiple of the vocabulary's mean length; 0 leaves it
    """

    start: str
    hidden: int = 256
    norm: float = 0.0

    def __call__(self, base: Base, shape: tuple[int, ...], generator: Generator) -> Mapped:
        own, table = _base_and(base, self.start), base.word_table().float()
        wide, spread = table.shape[1], 0.1 * float(table.std())
        own |= perceptron_start("word", shape[-1], self.hidden, wide, generator, spread=spread)
        length = self.norm * float(table.norm(dim=1).mean())

        def vectors(own: Mapping[str, Tensor], seen: Tensor, nouns: Tensor, run: Pass) -> Tensor:
            import torch.nn.functional as F

            word_vectors = own["base"] + perceptron(own, "word", seen)
            if length and run.references is None:
                word_vectors = length * F.normalize(word_vectors, dim=-1)
            return word_vectors[:, None]

        return Mapped(own, vectors)


@dataclass(frozen=True)
class words_of_depths:
    """Hidden states of R pictures at several depths [B, R, L, depths, D] -> a token of each depth [B, depths, D'].

    One perceptron of the class token plus the mean of another over the patch tokens, averaged over pictures (ELITE,
    Sec. 3.2 of arXiv:2302.13848). With frozen parameters only the first token is used: the others absorb, in training,
    traits that are not the subject's.

    start: word near whose vector tokens start
    hidden: width of the perceptrons
    layers: linear maps of each perceptron
    """

    start: str
    hidden: int = 48
    layers: int = 2

    def __call__(self, base: Base, shape: tuple[int, ...], generator: Generator) -> Mapped:
        own, table = _base_and(base, self.start), base.word_table().float()
        into, wide, spread = shape[-1], table.shape[1], 0.1 * float(table.std())
        for depth in range(shape[-2]):
            for what in ("whole", "places"):
                about: Any = {"spread": spread, "layers": self.layers}
                own |= perceptron_start(f"{what}.{depth}", into, self.hidden, wide, generator, **about)

        def vectors(own: Mapping[str, Tensor], seen: Tensor, nouns: Tensor, run: Pass) -> Tensor:
            import torch

            learning = any(tensor.requires_grad for tensor in own.values())
            words = [
                perceptron(own, f"whole.{depth}", seen[:, :, 0, depth])
                + perceptron(own, f"places.{depth}", seen[:, :, 1:, depth]).mean(2)
                for depth in range(seen.shape[3] if learning else 1)
            ]
            return own["base"] + torch.stack(words, 2).mean(1)

        return Mapped(own, vectors)


def _base_and(base: Base, word: str) -> dict[str, Tensor]:
    return {"base": base.word_vectors(word)[0].float()}
