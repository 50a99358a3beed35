"""The semantic context encoder SeeCoder (arXiv:2305.16223): a picture as states that stand in place of a text's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .layers import attended, attention, block, blocked, forward, forwarded, linear, mapped, normal, normed

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base

DEPTHS = (1 / 3, 2 / 3, 1.0)
"""Depths of CLIP that are read, the finest resolution first."""
FREQUENCIES = 8
"""Frequencies of the positions of a patch, in each direction."""


def clip_pyramid(base: Base, pixels: Tensor) -> Tensor:
    """[n, L, D]: CLIP's patch tokens at three depths; each deeper level has half the resolution of the one before, by
    means over patches. The finest level comes first (`levels_of` cuts them apart).

    base: the base, with an image encoder
    pixels: [n, 3, H, W] in [0, 1]
    """
    import torch
    import torch.nn.functional as F

    with torch.no_grad():
        states = base.picture_states(pixels, DEPTHS).unflatten(1, (len(DEPTHS), -1))[:, :, 1:]  # without class tokens
    side, levels = math.isqrt(states.shape[2]), []
    for k in range(len(DEPTHS)):
        level = F.adaptive_avg_pool2d(states[:, k].mT.unflatten(2, (side, side)), max(1, side >> k))
        levels.append(F.layer_norm(level.flatten(2).mT, level.shape[1:2]))
    return torch.cat(levels, 1)


def levels_of(pyramid: Tensor) -> list[Tensor]:
    """The levels [n, side * side, D] of a pyramid [n, L, D], the finest first."""
    count = pyramid.shape[1]
    sizes = next(sizes for side in range(1, count + 1) if sum(sizes := _sizes(side)) == count)
    return list(pyramid.split(sizes, 1))


def _sizes(side: int) -> list[int]:
    """Number of patches of each level, for a finest level of this side."""
    return [max(1, side >> k) ** 2 for k in range(len(DEPTHS))]


@dataclass(frozen=True)
class SemanticContext:
    """The shape of a semantic context encoder, built as in the authors' seecoder.py.

    A decoder maps each level of a pyramid to one width, adds a learned vector for its level, passes all levels together
    through transformer layers, and adds a second map of each level to its result. In the query transformer, local
    queries attend to one level in each layer, in turn; then global and local queries attend to each other and pass a
    feed-forward layer. Queries have learned positions, which are added for queries and keys alone.

    global_queries: number of queries that never attend to the pyramid
    local_queries: number of queries that do
    decoder_layers: layers of the decoder
    layers: layers of the query transformer
    width: width of both
    placed: whether keys of the pyramid have positions: the position-aware variant
    """

    global_queries: int = 4
    local_queries: int = 16
    decoder_layers: int = 1
    layers: int = 3
    width: int = 96
    placed: bool = False

    @property
    def heads(self) -> int:
        return max(4, self.width // 96)

    @property
    def count(self) -> int:
        """Number of queries."""
        return self.global_queries + self.local_queries

    def start(self, features: int, out: int, generator: Generator) -> dict[str, Tensor]:
        """Parameters at their start, for features of this width and states of width `out`."""
        import torch

        wide = self.width
        parameters: dict[str, Tensor] = {}
        for k in range(len(DEPTHS)):
            for part in ("into", "beside"):
                parameters |= linear(f"{part}.{k}", wide, features, generator) | normal(f"{part}.{k}.norm", wide)
        for k in range(self.decoder_layers):
            parameters |= block(f"decoder.{k}", wide, 2 * wide, generator)
        for name, count in (("levels", 3), ("query_levels", 3), ("queries", self.count), ("positions", self.count)):
            parameters[name] = torch.randn(count, wide, generator=generator)
        for k in range(self.layers):
            parameters |= attention(f"layers.{k}.cross", wide, wide, generator)
            parameters |= attention(f"layers.{k}.self", wide, wide, generator)
            parameters |= forward(f"layers.{k}.forward", wide, 2 * wide, generator)
        if self.placed:
            parameters |= linear("places.in", wide, 4 * FREQUENCIES, generator)
            parameters |= {"places.out.weight": torch.zeros(wide, wide), "places.out.bias": torch.zeros(wide)}
        return parameters | linear("out", out, wide, generator)

    def __call__(self, own: Mapping[str, Tensor], pyramid: Tensor) -> Tensor:
        """[B, queries, out]: states that stand in place of a text's, the global queries' first.

        own: parameters by name
        pyramid: features [B, L, D] of `clip_pyramid`
        """
        import torch

        levels = self.decoded(own, levels_of(pyramid))
        places = [self._places(own, level) for level in levels]
        seen = [level + own["query_levels"][k] for k, level in enumerate(levels)]
        x, at = own["queries"].expand(len(pyramid), -1, -1), own["positions"]
        first = self.global_queries
        for k in range(self.layers):
            level = k % len(seen)
            local = attended(
                own, f"layers.{k}.cross", x[:, first:], seen[level], self.heads, at=at[first:], to_at=places[level]
            )
            x = torch.cat([x[:, :first], local], 1)
            x = attended(own, f"layers.{k}.self", x, x, self.heads, at=at, to_at=at)
            x = forwarded(own, f"layers.{k}.forward", x)
        return mapped(own, "out", x)

    def decoded(self, own: Mapping[str, Tensor], levels: Sequence[Tensor]) -> list[Tensor]:
        """The decoder's levels [B, L_k, width]."""
        import torch

        def each(part: str, k: int) -> Tensor:
            return normed(own, f"{part}.{k}.norm", mapped(own, f"{part}.{k}", levels[k]))

        numbers = range(len(levels))
        x = torch.cat([each("into", k) + own["levels"][k] for k in numbers], 1)
        for k in range(self.decoder_layers):
            x = blocked(own, f"decoder.{k}", x, self.heads)
        parts = x.split([level.shape[1] for level in levels], 1)
        return [parts[k] + each("beside", k) for k in numbers]

    def _places(self, own: Mapping[str, Tensor], level: Tensor) -> Tensor | None:
        """[L, width]: positions of a level's patches; None without them."""
        import torch
        import torch.nn.functional as F

        if not self.placed:
            return None
        side = math.isqrt(level.shape[1])
        at = 2 * math.pi * ((torch.arange(side, device=level.device) + 0.5) / side - 0.5)
        angles = at[:, None] * max(side / 2, 1.0) ** torch.linspace(0, 1, FREQUENCIES, device=level.device)
        waves = torch.cat([angles.sin(), angles.cos()], 1).to(level)  # [side, 2 * FREQUENCIES]
        rows, columns = waves[:, None].expand(-1, side, -1), waves[None].expand(side, -1, -1)
        hidden = F.silu(mapped(own, "places.in", torch.cat([rows, columns], 2).flatten(0, 1)))
        return mapped(own, "places.out", hidden)
