"""Cross-attention to the text switched off, and two streams that share self-attention (Infinite-ID,
arXiv:2403.11781)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from limner.core.types import Live

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.types import AttentionCall, Kind, Pass


@dataclass(frozen=True)
class text_off:
    """In training on references, cross-attention to the text is zero, so that the identity is learned without words.

    This is identity-enhanced training (Sec. 3.2 of arXiv:2403.11781). In sampling it acts on parallel streams, which
    are the identity stream. A recipe lists it before a part that adds pictures beside the text
    (`decoupled_cross_attention`); that part stays active.
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("cross",)

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        live = Live()

        def operation(call: AttentionCall) -> AttentionCall:
            run = call.run
            if call.site.kind != "cross" or not live.on or not (run.parallel_stream or run.random is not None):
                return call
            heard = _main(run, len(call.query)) if run.parallel_stream else [run.references is None] * len(call.query)
            on = call.query.new_tensor([float(row) for row in heard]).view(-1, 1, 1, 1)
            call.on_output.append(lambda out: out * on)
            return call

        if scale:
            live.operations = (operation,)
        yield live


@dataclass(frozen=True)
class mixed_attention:
    """In sampling, self-attention of the text stream also attends to the identity stream (mixed attention, AdaIN-mean).

    The identity stream is each row's parallel stream. Its keys and values are first shifted to the text stream's means
    over positions (Sec. 3.3 of arXiv:2403.11781).

    identity: factor by which the identity stream's keys count; 0 leaves the stream out
    shifted: whether means are shifted
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("self",)

    identity: float = 1.0
    shifted: bool = True

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        live = Live()

        def operation(call: AttentionCall) -> AttentionCall:
            if call.site.kind == "self" and live.on and call.run.parallel_stream:
                self._join(call, scale * self.identity)
            return call

        if scale * self.identity:
            live.operations = (operation,)
        yield live

    def _join(self, call: AttentionCall, weight: float) -> None:
        import math

        import torch

        rows = len(call.query)
        main = _main(call.run, rows)
        apart = rows // len(call.run.branches) // 2
        twin = torch.tensor([row + apart if own else row for row, own in enumerate(main)], device=call.query.device)
        key, value = (x[twin] for x in (call.key, call.value))
        if self.shifted:
            key, value = mean_shifted(key, call.key), mean_shifted(value, call.value)
        before, more = call.key.shape[2], key.shape[2]
        bias = call.query.new_zeros(rows, 1, 1, before + more)
        bias[..., before:] = math.log(weight)
        # parallel streams attend to themselves alone
        bias[[k for k, own in enumerate(main) if not own], ..., before:] = float("-inf")
        call.key, call.value = torch.cat([call.key, key], 2), torch.cat([call.value, value], 2)
        call.bias = bias.expand(-1, 1, call.query.shape[2], -1)


def mean_shifted(x: Tensor, reference: Tensor) -> Tensor:
    """[B, H, N, d]: x with the reference's mean over N; the variation around the mean stays.

    x: [B, H, N, d]
    reference: [B, H, M, d]
    """
    return x - x.mean(2, keepdim=True) + reference.mean(2, keepdim=True)


def _main(run: Pass, rows: int) -> list[bool]:
    """For each row, whether it is no parallel stream."""
    each = rows // len(run.branches)
    return [row % each < each // 2 for row in range(rows)]
