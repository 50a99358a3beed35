"""Gated self-attention over picture positions and subject features, before the text's (InstantBooth, arXiv:2304.03411).

The layer is GLIGEN's (arXiv:2301.07093).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from limner.core.types import Live
from limner.parts.encoders.looks import Look, looked_at, looked_at_by_rows
from limner.parts.modifiers.parameters import prefixed, taken, under

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import AttentionCall, Kind, Pass

HEADS = 2


@dataclass(frozen=True)
class gated_attention:
    """z + strength * tanh(gamma) * S([z, f]) before every cross-attention layer, restricted to the positions z.

    S is a self-attention over the positions z and the features f; gamma, one number a layer, is zero at first
    (arXiv:2304.03411). f are features of the subject's pictures [B, L, …] through two learned layers, shared by all
    sites. Rows without pictures are unchanged. In training the strength is 1. z are the hidden states behind the norm
    of cross-attention, which queries see with the addition; the residual stream gets the addition alone.

    subject: the subject whose pictures are used in sampling
    look: base and references -> features [B, L, …]
    strength: factor of the attention in sampling
    width: width of the attention
    hidden: width of the learned layers
    name: prefix of its tensors' names
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("cross",)

    subject: Subject
    look: Look
    strength: float = 1.0
    width: int = 48
    hidden: int = 64
    name: str = "gated_attention"

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        prefix = f"{self.name}."
        given = under(prefix, stored)
        features = looked_at(base, self.subject, self.look, given, "features")
        start = self._start(base, features.flatten(2).shape[2], generator)
        own = taken(start, given, base, what="the gated attention")
        live = Live(prefixed(prefix, {**own, "features": features}))

        def operation(call: AttentionCall) -> AttentionCall:
            strength = scale * (self.strength if call.run.random is None else 1.0)
            if call.site.kind == "cross" and live.on and strength:
                states, on = self._states(base, call.run, len(call.query), features, own)
                site = under(f"{call.site.name}.", own)
                added = strength * on * site["gamma"].tanh() * attended(call.hidden, states, site)
                call.hidden = call.hidden + added
                call.query = call.queries(call.hidden)
                call.beyond.append(lambda _: added)
            return call

        if scale:
            live.operations = (operation,)
        yield live

    def _start(self, base: Base, wide: int, generator: Generator) -> dict[str, Tensor]:
        import torch

        def matrix(out: int, into: int) -> Tensor:
            return torch.randn(out, into, generator=generator) / into**0.5

        start = {"encoder": matrix(self.hidden, wide), "encoder.bias": torch.zeros(self.hidden)}
        for site in (site for site in base.sites if site.kind == "cross"):
            _, hidden, _ = base.attention_widths(site)
            sizes = {"query": (self.width, hidden), "key": (self.width, hidden), "value": (self.width, hidden)}
            sizes |= {"features": (hidden, self.hidden), "out": (hidden, self.width)}
            start |= {f"{site.name}.{part}": matrix(*size) for part, size in sizes.items()}
            start[f"{site.name}.gamma"] = torch.zeros(1)
        return start

    def _states(
        self, base: Base, run: Pass, rows: int, features: Tensor, own: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Features [rows, L, hidden]; and [rows, 1, 1]: 0 for rows without pictures. Made once in a run."""
        import torch.nn.functional as F

        if id(self) not in run.cache:
            seen, on = looked_at_by_rows(base, run, self.look, features, rows)
            flat = (features if run.references is None else seen).flatten(2)
            hidden = F.gelu(F.linear(F.layer_norm(flat, flat.shape[2:]), own["encoder"], own["encoder.bias"]))
            run.cache[id(self)] = hidden.expand(rows, -1, -1), on.to(hidden).view(-1, 1, 1)
        states: tuple[Tensor, Tensor] = run.cache[id(self)]
        return states


def attended(hidden: Tensor, states: Tensor, own: Mapping[str, Tensor]) -> Tensor:
    """[B, N, C]: self-attention over [hidden, features] at the positions of hidden.

    hidden: [B, N, C]
    states: features [B, L, D], mapped to width C first
    own: the layer's parameters
    """
    import torch
    import torch.nn.functional as F

    from limner.core.types import split

    both = torch.cat([hidden, F.linear(states, own["features"]).to(hidden)], 1)
    asked = F.linear(hidden, own["query"])
    query, key, value = (split(x, HEADS) for x in (asked, F.linear(both, own["key"]), F.linear(both, own["value"])))
    attention = torch.softmax(query @ key.mT * query.shape[-1] ** -0.5, -1) @ value
    return F.linear(attention.transpose(1, 2).flatten(2), own["out"])
