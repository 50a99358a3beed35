"""Learned queries over the patch tokens of a picture: the Querying Transformer of BLIP-2 (Sec. 3.1 of
arXiv:2301.12597)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .layers import attended, attention, forward, forwarded, linear, mapped, normal, normed

if TYPE_CHECKING:
    from torch import Generator, Tensor


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

        parameters = {"queries": drawn(self.queries, self.width), "positions": 0.02 * drawn(self.room, self.width)}
        parameters |= normal("places", places) | normal("norm", self.width)
        if self.vocabulary:
            parameters["table"] = drawn(self.vocabulary, self.width)
        else:
            parameters |= linear("words", self.width, words, generator)
        for k in range(self.layers):
            parameters |= attention(f"layers.{k}.self", self.width, self.width, generator)
            parameters |= attention(f"layers.{k}.cross", self.width, places, generator) if k % self.every == 0 else {}
            parameters |= forward(f"layers.{k}.of_queries", self.width, self.hidden, generator)
            parameters |= (
                forward(f"layers.{k}.of_words", self.width, self.hidden, generator)
                if self.whole or k + 1 < self.layers
                else {}
            )
        return parameters

    def __call__(self, own: Mapping[str, Tensor], places: Tensor, words: Tensor | None = None) -> Tensor:
        """[B, queries, width]: hidden states of the queries.

        places: patch tokens [B, L, F]
        words: vectors [B, n, D], zeros behind shorter rows, or numbers [B, n], negative there; None reads the picture
            alone
        """
        import torch

        seen = normed(own, "places", places)
        x = own["queries"].expand(len(places), -1, -1)
        there = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        if words is not None:
            read, where = self._read(own, words)
            x, there = torch.cat([x, read + own["positions"][: read.shape[1]]], 1), torch.cat([there, where], 1)
        x = normed(own, "norm", x)
        for k in range(self.layers):
            x = self._layer(own, f"layers.{k}", x, there, seen)
        return x[:, : self.queries]

    def _read(self, own: Mapping[str, Tensor], words: Tensor) -> tuple[Tensor, Tensor]:
        if self.vocabulary:
            return own["table"][words.clamp_min(0)], words >= 0
        return mapped(own, "words", words), words.ne(0).any(-1)

    def _layer(self, own: Mapping[str, Tensor], name: str, x: Tensor, there: Tensor, seen: Tensor) -> Tensor:
        import torch

        x = attended(own, f"{name}.self", x, x, self.heads, there=there)
        queries, words = x[:, : self.queries], x[:, self.queries :]
        if f"{name}.cross.query.weight" in own:
            queries = attended(own, f"{name}.cross", queries, seen, self.heads)
        queries = forwarded(own, f"{name}.of_queries", queries)
        if not words.shape[1] or f"{name}.of_words.in.weight" not in own:
            return queries
        return torch.cat([queries, forwarded(own, f"{name}.of_words", words)], 1)
