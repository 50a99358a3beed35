"""Low-rank changes of linear and convolution layers (LoRA, Hu et al., arXiv:2106.09685).

The change is a forward hook beside the layer, not a wrapper around it: parameters keep their names, undoing is taking
the hook away, and a layer without the hook is the stock layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from limner.errors import FileError, InputError
from limner.recipe import Live

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from limner.bases.protocol import Base


@dataclass(frozen=True)
class low_rank:
    """W' = W + scale * (alpha / rank) B A (Eq. 3), B zero and A random at first. `alpha` None is alpha = rank.

    `layers` is a set that the base names: "attention" or "everything".
    """

    rank: int
    layers: str = "attention"
    alpha: float | None = None

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        if self.rank < 1:
            raise InputError(f"the rank must be at least 1, not {self.rank}")
        strength = scale * (self.alpha or self.rank) / self.rank
        live = Live()
        with ExitStack() as stack:
            for name, layer in base.projections(self.layers).items():
                factors = _factors(name, layer, self.rank, stored, generator)
                live.tensors |= factors
                down, up = factors.values()
                if scale:
                    hook = _beside(down, up, strength, live)
                    stack.callback(layer.register_forward_hook(hook).remove)
            yield live


def _factors(
    name: str, layer: Any, rank: int, stored: Mapping[str, Tensor], generator: Generator
) -> dict[str, nn.Parameter]:
    """A [rank, in, ...] with LoRA's Kaiming-uniform start, and B [out, rank, ...] zero."""
    import math

    import torch

    weight = layer.weight
    kernel = weight.shape[2:]
    fan_in = math.prod(weight.shape[1:])
    down = (torch.rand(rank, *weight.shape[1:], generator=generator) * 2 - 1) / fan_in**0.5
    up = torch.zeros(weight.shape[0], rank, *(1 for _ in kernel))
    found = {}
    for key, start in ((f"low_rank.{name}.down", down), (f"low_rank.{name}.up", up)):
        value = stored.get(key, start)
        if value.shape != start.shape:
            raise FileError(
                f"{key} is {tuple(value.shape)} in the concept; this base and rank want {tuple(start.shape)}"
            )
        kind = weight.dtype if weight.dtype.is_floating_point else torch.float32  # quantised weights are whole numbers
        value = value.detach().clone().to(weight.device, kind)
        found[key] = torch.nn.Parameter(value, requires_grad=False)
    return found


def _beside(down: Tensor, up: Tensor, strength: float, live: Live) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    """The layer's output plus the low-rank path's."""
    import torch.nn.functional as F

    def linear(_: nn.Module, inputs: Any, out: Tensor) -> Tensor:
        return out + strength * F.linear(F.linear(inputs[0], down), up) if live.on else out

    def convolution(layer: Any, inputs: Any, out: Tensor) -> Tensor:
        if not live.on:
            return out
        low = F.conv2d(inputs[0], down, None, layer.stride, layer.padding, layer.dilation)
        return out + strength * F.conv2d(low, up)

    return linear if down.ndim == 2 else convolution
