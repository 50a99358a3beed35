"""Memory layout of convolution weights during inference."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from limner.core.weight_cache import of_weight

MOST = 128 * 2**20
"""Largest network, in bytes of convolution weights, that is laid out: both layouts are in memory at once."""

_lying: ContextVar[bool] = ContextVar("lying", default=False)  # inside `as_they_lie`
_convolutions: WeakKeyDictionary[nn.Module, list[nn.Parameter]] = WeakKeyDictionary()


@contextmanager
def laid_out(network: nn.Module, x: Tensor) -> Iterator[Tensor]:
    """Put `x` [B, C, h, w] and, for the block, a network's convolution weights into channels-last layout, in which a
    CPU convolves fastest without gradients (LOG). Nothing changes with gradients, where this is slower, under autocast,
    or on other devices."""
    if _lying.get() or torch.is_grad_enabled() or x.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        yield x
        return
    if network not in _convolutions:
        _convolutions[network] = _fitting(network)
    before = [(weight, weight.data) for weight in _convolutions[network]]
    try:
        for weight, _ in before:
            weight.data = of_weight("channels last", weight, lambda w=weight: (_channels_last(w.detach()),))[0]  # type: ignore[misc]
        yield _channels_last(x)
    finally:
        for weight, data in before:
            weight.data = data


@contextmanager
def as_they_lie() -> Iterator[None]:
    """Switch `laid_out` off for the block."""
    token = _lying.set(True)
    try:
        yield
    finally:
        _lying.reset(token)


def _fitting(network: nn.Module) -> list[nn.Parameter]:
    """The network's convolution weights; empty where they exceed `MOST` bytes."""
    weights = [
        p for m in network.modules() if isinstance(m, nn.Conv2d) for p in (m.weight,) if isinstance(p, nn.Parameter)
    ]
    return weights if sum(w.numel() * w.element_size() for w in weights) <= MOST else []


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
