"""Mappers for `words_of_pictures` that make tokens of an identity and, separately, of an expression."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from limner.parts.encoders.expressions import side_by_side
from limner.parts.encoders.looks import mean_of

from .words_of_pictures import Mapped

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.types import Pass
    from limner.parts.encoders.looks import Encoder, Look

IDENTITY = "identity features"
SLOPE = 0.2  # slope of leaky ReLUs below zero


@dataclass(frozen=True)
class identity_words:
    """Features of a face by several encoders -> vectors [B, words, D], each by a perceptron of its own.

    The features to map are those of `look` (Sec. 3.1 and 3.2 of arXiv:2403.05094). Each depth of an identity passes a
    linear layer; the outputs together distinguish people and are kept in a run as "identity features" [rows, all depths
    * scale]. Where the expression is not seen, a learned one takes its place.

    start: word whose vectors the tokens start near
    identity: encoders of an identity, each with its number of depths, the equal parts of its features [n, F]
    expression: encoder of an expression [n, E], or None
    words: number of vectors
    scale: width that each depth is mapped to
    hidden: width of the perceptrons, each of two hidden layers
    drop: probability of dropping a row's expression in training, from 0 to 1
    dropout: share of hidden units dropped in training, from 0 to 1
    expressive: whether the subject's own expression is used in sampling
    """

    start: str
    identity: tuple[tuple[Encoder, int], ...]
    expression: Encoder | None = None
    words: int = 2
    scale: int = 64
    hidden: int = 192
    drop: float = 0.5
    dropout: float = 0.0
    expressive: bool = False

    @property
    def look(self) -> Look:
        """The mean over a subject's pictures of all features."""
        last = () if self.expression is None else (self.expression,)
        return mean_of(side_by_side((*(encoder for encoder, _ in self.identity), *last)))

    def __call__(self, base: Base, shape: tuple[int, ...], generator: Generator) -> Mapped:
        import torch
        import torch.nn.functional as F

        widths = self._widths(base)
        code, table = shape[-1] - sum(widths), base.word_table().float()
        start = base.word_vectors(self.start)
        own = {"base": start[torch.arange(self.words) % len(start)].float()}
        for k, wide in enumerate(widths):
            own[f"depth.{k}.scale"] = torch.randn(self.scale, wide, generator=generator) / wide**0.5
        into = len(widths) * self.scale + code
        for k in range(self.words):
            own |= _linear(f"word.{k}.0", self.hidden, into, generator)
            own |= _linear(f"word.{k}.1", self.hidden, self.hidden, generator)
            own |= _linear(f"word.{k}.2", table.shape[1], self.hidden, generator, spread=0.1 * float(table.std()))
        own |= {"null": torch.zeros(code)} if code else {}

        def vectors(own: Mapping[str, Tensor], seen: Tensor, nouns: Tensor, run: Pass) -> Tensor:
            *depths, last = seen.split([*widths, code], -1)
            scaled = [F.linear(part, own[f"depth.{k}.scale"]) for k, part in enumerate(depths)]
            identity = torch.cat([F.normalize(part, dim=-1) * self.scale**0.5 for part in scaled], -1)
            run.activations[IDENTITY] = identity
            x = torch.cat([identity, self._expression(own, last, run)], -1) if code else identity
            return own["base"] + torch.stack([self._word(own, k, x, run) for k in range(self.words)], 1)

        return Mapped(own, vectors)

    def _widths(self, base: Base) -> list[int]:
        """Width of every depth of an identity."""
        import torch

        blank = torch.zeros(1, 3, base.picture_size, base.picture_size, device=base.device)
        with torch.no_grad():
            return [encoder(base, blank).shape[-1] // parts for encoder, parts in self.identity for _ in range(parts)]

    def _expression(self, own: Mapping[str, Tensor], code: Tensor, run: Pass) -> Tensor:
        """[B, E]: a row's own, or the learned one."""
        import torch

        if run.random is None:
            on = torch.full((len(code),), self.expressive)
        else:
            on = torch.rand(len(code), generator=run.random("expression")) >= self.drop
        return torch.where(on.to(code.device)[:, None], code, own["null"])

    def _word(self, own: Mapping[str, Tensor], k: int, x: Tensor, run: Pass) -> Tensor:
        import torch
        import torch.nn.functional as F

        for layer in (0, 1):
            x = F.leaky_relu(F.linear(x, own[f"word.{k}.{layer}.weight"], own[f"word.{k}.{layer}.bias"]), SLOPE)
            if self.dropout and run.random is not None:
                left = torch.rand(x.shape, generator=run.random(f"dropout {k} {layer}")) >= self.dropout
                x = x * left.to(x) / (1 - self.dropout)
        return F.linear(x, own[f"word.{k}.2.weight"], own[f"word.{k}.2.bias"])


def _linear(name: str, out: int, into: int, generator: Generator, *, spread: float = 1.0) -> dict[str, Tensor]:
    import torch

    weight = torch.randn(out, into, generator=generator) * spread / into**0.5
    return {f"{name}.weight": weight, f"{name}.bias": torch.zeros(out)}
