"""Small bottleneck adapters beside the layers of a transformer block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from limner.core.types import Live

from .parameters import taken

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from limner.core.base import Base


@dataclass(frozen=True)
class bottleneck_adapters:
    """In every transformer block, up(gelu(down(x))) of cross-attention's output is added to the feed-forward layer's
    input.

    This is the best of the positions that arXiv:2303.18181 compares. `up` is zero at first.

    width: width of the bottleneck
    """

    width: int = 60

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        import torch

        live = Live()
        with ExitStack() as stack:
            for name, (attention, feed_forward, wide) in base.transformer_blocks().items():
                prefix = f"adapter.{name}."
                start = {f"{prefix}down": torch.randn(self.width, wide, generator=generator) / wide**0.5}
                start[f"{prefix}up"] = torch.zeros(wide, self.width)
                own = taken(start, stored, base, what="the adapter")
                live.tensors |= own
                if scale:
                    down, up = own.values()
                    read, add = _between(down, up, scale, live)
                    stack.callback(attention.register_forward_hook(read).remove)
                    stack.callback(feed_forward.register_forward_pre_hook(add).remove)
            yield live


def _between(down: Tensor, up: Tensor, scale: float, live: Live) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Two hooks: the first keeps cross-attention's output, the second adds its change to the next layer's input."""
    import torch.nn.functional as F

    passing: list[Tensor] = []

    def read(_: nn.Module, __: Any, out: Tensor) -> None:
        passing[:] = [out]

    def add(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        out = passing.pop()
        if not live.on:
            return inputs
        return (inputs[0] + scale * (F.gelu(out @ down.T) @ up.T), *inputs[1:])

    return read, add
