"""Perceptrons of two layers: what maps frozen features into the space of words, states or maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, Tensor


def perceptron_start(
    name: str, into: int, hidden: int, out: int, generator: Generator, *, spread: float = 1.0
) -> dict[str, Tensor]:
    """Parameters at their start, by names that begin with `name`; what comes out has a standard deviation of about `spread`."""
    import torch

    return {
        f"{name}.first": torch.randn(hidden, into, generator=generator) / into**0.5,
        f"{name}.bias": torch.zeros(hidden),
        f"{name}.second": torch.randn(out, hidden, generator=generator) * spread / (0.6 * hidden**0.5),
    }


def perceptron(own: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    """[…, into] -> […, out]: second(gelu(first(normalised x)))"""
    import torch.nn.functional as F

    hidden = F.linear(F.layer_norm(x, x.shape[-1:]), own[f"{name}.first"], own[f"{name}.bias"])
    return F.linear(F.gelu(hidden), own[f"{name}.second"])
