"""Perceptrons, which map frozen features to tokens, hidden states or maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, Tensor


def perceptron_start(
    name: str, into: int, hidden: int, out: int, generator: Generator, *, spread: float = 1.0, layers: int = 2
) -> dict[str, Tensor]:
    """Parameters at their start, with outputs of a standard deviation of about `spread`.

    name: beginning of the parameters' names
    into: width of the input
    hidden: width of the hidden layers
    out: width of the output
    generator: random stream
    spread: standard deviation of outputs
    layers: number of linear maps, 2 or more
    """
    import torch

    between = {}
    for k in range(layers - 2):
        between[f"{name}.between.{k}"] = torch.randn(hidden, hidden, generator=generator) / hidden**0.5
        between[f"{name}.between.{k}.bias"] = torch.zeros(hidden)
    return between | {
        f"{name}.first": torch.randn(hidden, into, generator=generator) / into**0.5,
        f"{name}.bias": torch.zeros(hidden),
        f"{name}.second": torch.randn(out, hidden, generator=generator) * spread / (0.6 * hidden**0.5),
    }


def perceptron(own: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    """[..., out]: second(gelu(first(normalised x))), with more such layers in between where the parameters have them.

    own: the parameters
    name: beginning of their names
    x: [..., into]
    """
    import torch.nn.functional as F

    hidden = F.linear(F.layer_norm(x, x.shape[-1:]), own[f"{name}.first"], own[f"{name}.bias"])
    k = 0
    while f"{name}.between.{k}" in own:
        normal = F.layer_norm(F.gelu(hidden), hidden.shape[-1:])
        hidden = F.linear(normal, own[f"{name}.between.{k}"], own[f"{name}.between.{k}.bias"])
        k += 1
    return F.linear(F.gelu(hidden), own[f"{name}.second"])
