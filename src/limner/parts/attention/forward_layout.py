"""Attention to words moved into their regions without a gradient (forward guidance, arXiv:2304.03373)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from limner.core.types import Live

from .regions import regions_of

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.types import AttentionCall, Kind


@dataclass(frozen=True)
class forward_layout:
    """A' = (1 - strength) * A + strength * g * sum(A) for each word with a region (Sec. 3.2 of arXiv:2304.03373).

    A is a word's attention in the branch of the prompt; g, a Gaussian with the mean and the variance of the region's
    positions, is 0 outside of the region and sums to 1. Several concepts with this part act once.

    strength: share of the attention that is moved, from 0 to 1
    until: share of the time, counted from the noisiest, in which it acts, from 0 to 1
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("cross",)

    strength: float = 0.8
    until: float = 0.2

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        live = Live()

        def operation(call: AttentionCall) -> AttentionCall:
            run = call.run
            if not live.on or run.step is None or run.time is None or call.site.kind != "cross" or not run.regions:
                return call
            first: Live = run.cache.setdefault("forward layout", live)
            if first is live and float(run.time.max()) >= (1 - self.until) * base.num_train_times:
                rows = self._rows(call)
                call.on_maps.append(lambda maps: self._moved(maps, rows, scale))
            return call

        if scale:
            live.operations = (operation,)
        yield live

    def _rows(self, call: AttentionCall) -> list[tuple[int, Tensor, Tensor]]:
        """Row, keys [m] and Gaussian [N] of every word with a region in the branch of the prompt."""
        each, first = len(call.query) // len(call.run.branches), call.run.branches.index("text")
        return [(row, keys, gaussian(inside)) for row, _, keys, inside in regions_of(call) if row // each == first]

    def _moved(self, maps: Tensor, rows: list[tuple[int, Tensor, Tensor]], scale: float) -> Tensor:
        maps, strength = maps.clone(), scale * self.strength
        for row, keys, weight in rows:
            own = maps[row][:, :, keys]  # [H, N, m]
            moved = weight.to(own)[None, :, None] * own.sum(1, keepdim=True)
            maps[row, :, :, keys] = own.lerp(moved, strength)
        return maps


def gaussian(inside: Tensor) -> Tensor:
    """[N]: a Gaussian with the mean and the variance of a region's positions; 0 outside of it, with the sum 1.

    inside: [N] of 0 and 1, a region at the positions of a square layer
    """
    import torch

    side = round(len(inside) ** 0.5)
    axis = torch.arange(side, device=inside.device, dtype=torch.float32)
    shares, exponent = inside.float() / inside.float().sum(), inside.new_zeros(len(inside), dtype=torch.float32)
    for at in (axis.repeat_interleave(side), axis.repeat(side)):
        mean = (shares * at).sum()
        exponent += (at - mean).square() / (shares * (at - mean).square()).sum().clamp_min(1 / 12)
    weight = (-exponent / 2).exp() * inside
    return weight / weight.sum()
