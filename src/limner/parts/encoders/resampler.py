"""Queries that gather patch tokens into a few: the Perceiver resampler (Flamingo, Sec. 3.1 of arXiv:2204.14198)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class Resampler:
    """The shape of a Perceiver resampler, built as by the authors of IP-Adapter and MS-Diffusion.

    Each layer is attention from the latents to patch tokens and latents together, then a feed-forward network, each
    with a norm before and a sum after; linear maps in between have no biases.

    layers: layers of attention and feed-forward network
    width: width of the latents
    heads: attention heads, each width / heads wide
    widening: width within a feed-forward network, as a multiple of `width`
    normed: whether a norm stands before the last linear layer; InstantID's and IP-Adapter's have none
    """

    layers: int = 2
    width: int = 96
    heads: int = 4
    widening: int = 4
    normed: bool = True

    def start(self, patches: int, out: int, generator: Generator) -> dict[str, Tensor]:
        """Parameters at their start, for patch tokens of width `patches` and states of width `out`."""
        import torch

        def matrix(rows: int, columns: int) -> Tensor:
            return torch.randn(rows, columns, generator=generator) / columns**0.5

        wide, inner = self.width, self.width * self.widening
        parameters = {"in.weight": matrix(wide, patches), "in.bias": torch.zeros(wide)}
        for k in range(self.layers):
            parameters |= {f"{k}.query": matrix(wide, wide), f"{k}.key_value": matrix(2 * wide, wide)}
            parameters |= {
                f"{k}.out": matrix(wide, wide),
                f"{k}.first": matrix(inner, wide),
                f"{k}.second": matrix(wide, inner),
            }
            for name in ("patches", "latents", "forward"):
                parameters |= _norm(f"{k}.{name}", wide)
        parameters |= _norm("last", wide) if self.normed else {}
        parameters |= {"out.weight": matrix(out, wide), "out.bias": torch.zeros(out)}
        return parameters | _norm("states", out)

    def __call__(self, own: Mapping[str, Tensor], patches: Tensor, latents: Tensor) -> Tensor:
        """Patch tokens [B, L, D], latents [B, queries, width] -> states [B, queries, out], normalised."""
        import torch.nn.functional as F

        seen = F.linear(patches, own["in.weight"], own["in.bias"])
        for k in range(self.layers):
            latents = latents + self._attended(own, k, seen, latents)
            hidden = F.gelu(F.linear(_normed(own, f"{k}.forward", latents), own[f"{k}.first"]))
            latents = latents + F.linear(hidden, own[f"{k}.second"])
        latents = _normed(own, "last", latents) if self.normed else latents
        states = F.linear(latents, own["out.weight"], own["out.bias"])
        return _normed(own, "states", states)

    def _attended(self, own: Mapping[str, Tensor], k: int, seen: Tensor, latents: Tensor) -> Tensor:
        import torch
        import torch.nn.functional as F

        from limner.core.types import split

        asking = _normed(own, f"{k}.latents", latents)
        both = torch.cat([_normed(own, f"{k}.patches", seen), asking], 1)
        key, value = F.linear(both, own[f"{k}.key_value"]).chunk(2, -1)
        query = F.linear(asking, own[f"{k}.query"])
        query, key, value = (split(x, self.heads) for x in (query, key, value))
        attention = F.scaled_dot_product_attention(query, key, value)
        return F.linear(attention.transpose(1, 2).flatten(2), own[f"{k}.out"])


def _norm(name: str, width: int) -> dict[str, Tensor]:
    import torch

    return {f"{name}.weight": torch.ones(width), f"{name}.bias": torch.zeros(width)}


def _normed(own: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    import torch.nn.functional as F

    return F.layer_norm(x, x.shape[-1:], own[f"{name}.weight"], own[f"{name}.bias"])
