"""Low-rank changes of attention that a small network predicts from each row's pictures (arXiv:2307.06925)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from limner.core.types import Live
from limner.parts.encoders.looks import Look, looked_at, looked_at_by_rows

from .parameters import taken

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import AttentionCall, Kind, Pass

FEATURES = "predicted_low_rank.features"
PARTS = ("query", "key", "value")


@dataclass(frozen=True)
class predicted_low_rank:
    """W' = W + B (I + M) A for queries, keys and values of every attention layer, with changes of each row's own.

    A hypernetwork with one hidden layer predicts M [rank, rank] of every layer from the row's pictures; A and B are the
    same for all subjects and are trained with it, B zero at first. The authors predict whole factors of LoRA's, which
    takes millions of weights (arXiv:2307.06925). `shift`, zero at first, is added to M: it can be tuned alone. Rows
    without pictures are the base's.

    subject: the subject whose pictures are used in sampling
    look: base and references -> features [B, F]
    rank: rank of the changes
    width: width of the hypernetwork
    name: prefix of its tensors' names
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("self", "cross")

    subject: Subject
    look: Look
    rank: int = 4
    width: int = 64
    name: str = "predicted_low_rank"

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        features = looked_at(base, self.subject, self.look, stored, FEATURES)
        sites = [site.name for site in base.sites if site.kind in self.acts_in]
        start = {f"{self.name}.{key}": t for key, t in self._start(base, features.shape[-1], generator).items()}
        own = taken(start, stored, base, what="the predicted changes")
        live = Live({**own, FEATURES: features})

        def operation(call: AttentionCall) -> AttentionCall:
            if call.site.name not in sites or not live.on:
                return call
            if id(self) not in call.run.cache:
                call.run.cache[id(self)] = scale * self._cores(base, call.run, len(call.query), features, own)
            cores = call.run.cache[id(self)][:, sites.index(call.site.name)]  # [rows, 3, rank, rank]
            more = [
                call.heads(self._path(x, cores[:, k], own, f"{self.name}.{call.site.name}.{part}"))
                for k, (part, x) in enumerate(zip(PARTS, (call.hidden, call.states, call.states), strict=True))
            ]
            call.query, call.key, call.value = call.query + more[0], call.key + more[1], call.value + more[2]
            return call

        if scale:
            live.operations = (operation,)
        yield live

    def _start(self, base: Base, dim: int, generator: Generator) -> dict[str, Tensor]:
        import torch

        sites = [site for site in base.sites if site.kind in self.acts_in]
        cores = len(sites) * len(PARTS) * self.rank**2
        start = {
            "first.weight": torch.randn(self.width, dim, generator=generator) / dim**0.5,
            "first.bias": torch.zeros(self.width),
            "second.weight": torch.randn(cores, self.width, generator=generator) / self.width**0.5,
            "second.bias": torch.zeros(cores),
            "shift": torch.zeros(len(sites), len(PARTS), self.rank, self.rank),
        }
        for site in sites:
            _, hidden, states = base.attention_widths(site)
            out = base.key_value(site)[0].out_features
            for part, wide in zip(PARTS, (hidden, states, states), strict=True):
                start[f"{site.name}.{part}.down"] = torch.randn(self.rank, wide, generator=generator) / wide**0.5
                start[f"{site.name}.{part}.up"] = torch.zeros(out, self.rank)
        return start

    def _cores(self, base: Base, run: Pass, rows: int, features: Tensor, own: Mapping[str, Tensor]) -> Tensor:
        """[rows, sites, 3, rank, rank]: I + M; zeros in rows without pictures."""
        import torch
        import torch.nn.functional as F

        seen, on = looked_at_by_rows(base, run, self.look, features, rows)
        first, second = (
            [own[f"{self.name}.{layer}.{part}"] for part in ("weight", "bias")] for layer in ("first", "second")
        )
        shift = own[f"{self.name}.shift"]
        predicted = F.linear(F.leaky_relu(F.linear(seen, *first)), *second).view(rows, *shift.shape)
        one = torch.eye(self.rank, device=seen.device, dtype=predicted.dtype)
        return (one + predicted + shift) * on.to(predicted).view(-1, 1, 1, 1, 1)

    def _path(self, x: Tensor, cores: Tensor, own: Mapping[str, Tensor], name: str) -> Tensor:
        """[rows, N, C] -> [rows, N, out]: each row multiplied by its own core."""
        import torch
        import torch.nn.functional as F

        return F.linear(torch.bmm(F.linear(x, own[f"{name}.down"]), cores.to(x.dtype).mT), own[f"{name}.up"])
