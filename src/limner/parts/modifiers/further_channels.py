"""Further channels of the denoiser's input: pictures concatenated with the noised latents."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from limner.core.types import Live

from .parameters import prefixed, taken, under

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.types import Pass

Channels: TypeAlias = (
    "Callable[[Base, Mapping[str, Tensor]], tuple[dict[str, Tensor], int, Callable[[Pass, int], Tensor]]]"
)
"""Base and stored tensors by name -> tensors to store, number of channels, and (run, its rows) -> the channels
[rows, channels, h, w] at the latents' size."""


@dataclass(frozen=True)
class further_channels:
    """The denoiser's first layer reads further channels beside the latents.

    A convolution is linear, so weights for these channels alone, added to the first layer's output, are the same as one
    convolution of all channels, concatenated. They are zero at first. On bases with a UNet.

    channels: makes the channels
    name: prefix of its tensors' names
    reads: conditions that the channels are made of, as far as these are given
    """

    channels: Channels
    name: str = "channels"
    reads: frozenset[str] = frozenset()

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        import torch

        first = first_layer(base)
        prefix = f"{self.name}."
        given = under(prefix, stored)
        constants, count, make = self.channels(base, given)
        out, kernel = first.weight.shape[0], first.weight.shape[2:]
        own = taken({"weight": torch.zeros(out, count, *kernel)}, given, base, what="the further input channels")
        live = Live(prefixed(prefix, {**own, **constants}), may_read=self.reads)

        def hook(layer: Any, inputs: Any, output: Tensor) -> Tensor:
            if not live.on or live.run is None:
                return output
            return output + scale * read_by(layer, make(live.run, len(inputs[0])).to(inputs[0]), own["weight"])

        handle = first.register_forward_hook(hook) if scale else None
        try:
            yield live
        finally:
            if handle:
                handle.remove()


def first_layer(base: Base) -> Any:
    """The convolution that reads the latents. Raises `InputError` for a base without a UNet."""
    (layer,) = base.projections("input").values()
    return layer


def read_by(layer: Any, channels: Tensor, weight: Tensor) -> Tensor:
    """[rows, out, h, w]: the channels through a convolution like the layer's, without a bias.

    layer: the convolution whose stride, padding and dilation count
    channels: [rows, channels, h, w]
    weight: its kernel, [out, channels, ...]
    """
    import torch.nn.functional as F

    return F.conv2d(channels, weight.to(channels), None, layer.stride, layer.padding, layer.dilation)
