"""Small bottleneck adapters beside the layers of a transformer block, or after its attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from limner.core.types import Live
from limner.errors import InputError

from .branch_rows import in_rows, rows_of_branches
from .parameters import taken

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from limner.core.base import Base
    from limner.core.types import Kind, Pass


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


@dataclass(frozen=True)
class attention_adapters:
    """After every attention layer, x becomes x + up(gelu(down(x))), StyleDrop's adapter (arXiv:2306.00983).

    x is the layer's output, of the picture alone where text and picture attend together; `up` is zero at first. Layers
    are not shared between adapters. In sampling, adapters act in the named branches of guidance alone.

    width: width of the bottleneck, 1 or more
    branches: branches of guidance in which the adapters act
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("self", "cross", "joint")

    width: int = 32
    branches: tuple[str, ...] = ("text",)

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        import torch

        if self.width < 1:
            raise InputError(f"the width of an adapter must be at least 1, not {self.width}")
        live = Live()
        with ExitStack() as stack:
            for site in (site for site in base.sites if site.kind in self.acts_in):
                layer = base.query_out(site)[1]
                prefix, wide = f"adapter.{site.name}.", layer.out_features
                start = {f"{prefix}down": torch.randn(self.width, wide, generator=generator) / wide**0.5}
                start[f"{prefix}up"] = torch.zeros(wide, self.width)
                own = taken(start, stored, base, what="the adapter")
                live.tensors |= own
                if scale:
                    down, up = own.values()
                    hook = in_rows(_after(down, up, scale, live), live, self.rows_of)
                    stack.callback(layer.register_forward_hook(hook).remove)
            yield live

    def rows_of(self, run: Pass, count: int) -> list[int]:
        """The rows in which adapters act: in training all.

        run: the run
        count: number of rows, branch after branch
        """
        return list(range(count)) if run.random is not None else rows_of_branches(run, count, self.branches)


def _after(down: Tensor, up: Tensor, scale: float, live: Live) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    """A hook that adds an adapter's change to a layer's output."""
    import torch.nn.functional as F

    def hook(_: nn.Module, __: Any, out: Tensor) -> Tensor:
        return out + scale * F.linear(F.gelu(F.linear(out, down)), up) if live.on else out

    return hook
