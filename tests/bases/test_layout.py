"""Convolutions laid out while nothing learns: the same pictures, and afterwards the same weights in the same places."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from limner.bases.common.layout import laid_out
from tests.helpers import same, state


def test_it_decodes_the_same_and_puts_everything_back(base: Any) -> None:
    network, x = base.module("autoencoder"), torch.randn(2, *base.latent_shape)
    before, places = state(base), [(p.data_ptr(), p.stride(), p._version) for p in network.parameters()]
    plain = network.decode(x).sample
    with torch.no_grad(), laid_out(network, x) as y:
        assert y.is_contiguous(memory_format=torch.channels_last)
        weights = [m.weight for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
        assert all(w.is_contiguous(memory_format=torch.channels_last) for w in weights)
        found = network.decode(y).sample
    assert torch.allclose(plain, found, atol=1e-4)
    assert [(p.data_ptr(), p.stride(), p._version) for p in network.parameters()] == places
    assert same(state(base), before)


def test_it_is_undone_after_an_exception_and_not_done_where_something_learns(base: Any) -> None:
    network, x = base.module("autoencoder"), torch.randn(1, *base.latent_shape)
    places = [p.data_ptr() for p in network.parameters()]
    with laid_out(network, x) as y:
        assert y is x
    with pytest.raises(RuntimeError, match="half-way"), torch.no_grad(), laid_out(network, x):
        raise RuntimeError("half-way")
    assert [p.data_ptr() for p in network.parameters()] == places


def test_what_was_written_to_is_laid_out_anew() -> None:
    layer, x = nn.Conv2d(3, 4, 3), torch.randn(1, 3, 5, 5)
    network = nn.Sequential(layer)
    for _ in range(2):
        with torch.no_grad():
            layer.weight.add_(1)
            with laid_out(network, x) as y:
                found = network(y)
            assert torch.allclose(found, network(x), atol=1e-5)
