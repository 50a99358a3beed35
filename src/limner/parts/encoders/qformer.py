"""Learned queries over the patch tokens of a picture: the Querying Transformer of BLIP-2 (Sec. 3.1 of
arXiv:2301.12597)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, Tensor

EPSILON = 1e-12
"""Epsilon of layer norms, as in BERT."""


@dataclass(frozen=True)
class QueryFormer:
    """The shape of a Querying Transformer. Its layers are BERT's, normalised after each sum.

    Queries and words attend to each other; in some layers queries also attend to the patch tokens; queries and words
    each have a feed-forward layer of their own. Words of the last layer have no output.

    queries: number of queries
    layers: number of layers
    width: width of queries and words
    heads: attention heads
    hidden: width of the feed-forward layers
    every: number of layers from one attention to patch tokens to the next
    room: largest number of words
    vocabulary: number of words in a table of its own; 0 maps vectors of a text encoder linearly
    whole: whether the last layer has a feed-forward layer for words, as released weights do
    """

    queries: int = 16
    layers: int = 12
    width: int = 768
    heads: int = 12
    hidden: int = 3072
    every: int = 1
    room: int = 32
    vocabulary: int = 0
    whole: bool = False

    def start(self, places: int, words: int, generator: Generator) -> dict[str, Tensor]:
        """Parameters at their start, for patch tokens and words of these widths."""
        import torch

        def drawn(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator)

        def linear(name: str, out: int, into: int) -> dict[str, Tensor]:
            return {f"{name}.weight": drawn(out, into) / into**0.5, f"{name}.bias": torch.zeros(out)}

        def attention(name: str, into: int) -> dict[str, Tensor]:
            made = linear(f"{name}.query", self.width, self.width) | linear(f"{name}.out", self.width, self.width)
            made |= linear(f"{name}.key", self.width, into) | linear(f"{name}.value", self.width, into)
            return made | normal(f"{name}.norm", self.width)

        def forward(name: str) -> dict[str, Tensor]:
            made = linear(f"{name}.in", self.hidden, self.width) | linear(f"{name}.out", self.width, self.hidden)
            return made | normal(f"{name}.norm", self.width)

        parameters = {"queries": drawn(self.queries, self.width), "positions": 0.02 * drawn(self.room, self.width)}
        parameters |= normal("places", places) | normal("norm", self.width)
        if self.vocabulary:
            parameters["table"] = drawn(self.vocabulary, self.width)
        else:
            parameters |= linear("words", self.width, words)
        for k in range(self.layers):
            parameters |= attention(f"layers.{k}.self", self.width)
            parameters |= attention(f"layers.{k}.cross", places) if k % self.every == 0 else {}
            parameters |= forward(f"layers.{k}.of_queries")
            parameters |= forward(f"layers.{k}.of_words") if self.whole or k + 1 < self.layers else {}
        return parameters

    def __call__(self, own: Mapping[str, Tensor], places: Tensor, words: Tensor | None = None) -> Tensor:
        """[B, queries, width]: hidden states of the queries.

        places: patch tokens [B, L, F]
        words: vectors [B, n, D], zeros behind shorter rows, or numbers [B, n], negative there; None reads the picture
            alone
        """
        import torch

        seen = _normal(own, "places", places)
        x = own["queries"].expand(len(places), -1, -1)
        there = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        if words is not None:
            read, where = self._read(own, words)
            x, there = torch.cat([x, read + own["positions"][: read.shape[1]]], 1), torch.cat([there, where], 1)
        x = _normal(own, "norm", x)
        for k in range(self.layers):
            x = self._layer(own, f"layers.{k}", x, there, seen)
        return x[:, : self.queries]

    def _read(self, own: Mapping[str, Tensor], words: Tensor) -> tuple[Tensor, Tensor]:
        if self.vocabulary:
            return own["table"][words.clamp_min(0)], words >= 0
        return _linear(own, "words", words), words.ne(0).any(-1)

    def _layer(self, own: Mapping[str, Tensor], name: str, x: Tensor, there: Tensor, seen: Tensor) -> Tensor:
        import torch

        x = self._attended(own, f"{name}.self", x, x, there)
        queries, words = x[:, : self.queries], x[:, self.queries :]
        if f"{name}.cross.query.weight" in own:
            queries = self._attended(own, f"{name}.cross", queries, seen)
        queries = _forward(own, f"{name}.of_queries", queries)
        if not words.shape[1] or f"{name}.of_words.in.weight" not in own:
            return queries
        return torch.cat([queries, _forward(own, f"{name}.of_words", words)], 1)

    def _attended(
        self, own: Mapping[str, Tensor], name: str, x: Tensor, to: Tensor, there: Tensor | None = None
    ) -> Tensor:
        from limner.core.types import split

        query = split(_linear(own, f"{name}.query", x), self.heads)
        key, value = (split(_linear(own, f"{name}.{part}", to), self.heads) for part in ("key", "value"))
        logits = query @ key.mT * query.shape[-1] ** -0.5
        if there is not None:
            logits = logits.masked_fill(~there[:, None, None], float("-inf"))
        out = (logits.softmax(-1) @ value).transpose(1, 2).flatten(2)
        return _normal(own, f"{name}.norm", x + _linear(own, f"{name}.out", out))


def normal(name: str, width: int) -> dict[str, Tensor]:
    """A layer norm's parameters at their start.

    name: beginning of their names
    width: number of channels
    """
    import torch

    return {f"{name}.weight": torch.ones(width), f"{name}.bias": torch.zeros(width)}


def _normal(own: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    import torch.nn.functional as F

    return F.layer_norm(x, x.shape[-1:], own[f"{name}.weight"], own[f"{name}.bias"], EPSILON)


def _linear(own: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    import torch.nn.functional as F

    return F.linear(x, own[f"{name}.weight"], own[f"{name}.bias"])


def _forward(own: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    import torch.nn.functional as F

    inner = F.gelu(_linear(own, f"{name}.in", x))
    return _normal(own, f"{name}.norm", x + _linear(own, f"{name}.out", inner))
