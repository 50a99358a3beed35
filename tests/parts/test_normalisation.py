"""Normalisation layers that take over a reference's statistics."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from limner.core.recipe import Painting, Recipe
from limner.core.types import ReferenceStream
from limner.engine.attach import Adapter, attach
from limner.engine.sample import PaintSettings, sample
from limner.parts.modifiers import shared_statistics
from tests.helpers import same, state, untouched


def painted(base: Any, *modifiers: Any, reference_stream: bool = True, scale: float = 1.0) -> Any:
    beside = (
        (lambda adapted: lambda steps: ReferenceStream("a blue cup in the snow", None)) if reference_stream else None
    )
    recipe = Recipe("a dog", modifiers, painting=Painting(reference_stream=beside))
    with torch.no_grad(), attach(base, [Adapter(recipe, "<rex>", scale=scale)]) as adapted:
        for at in sample(adapted, ["a red dog"], seeds=[0], settings=PaintSettings(steps=2)):
            found = at.latents
    return found


def test_layers_normalise_over_own_and_reference_positions(base: Any) -> None:
    """Independently: mean and variance over both rows' positions, group by group."""
    layer = next(iter(base.normalisations().values()))
    x = torch.randn(4, layer.num_channels, 6, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), attach(base, [Adapter(Recipe("", (shared_statistics(),)), "<s>")]) as adapted:
        adapted.run(branches=("negative", "text"), reference_stream=True)
        found = layer(x)
        adapted.run(branches=("text",))
        assert torch.equal(layer(x), F.group_norm(x, layer.num_groups, layer.weight, layer.bias, layer.eps))
    for row, reference in ((0, 0), (1, 0), (2, 2), (3, 2)):
        own, both = (
            torch.cat(part, -1).unflatten(0, (layer.num_groups, -1)) for part in ([x[row]], [x[row], x[reference]])
        )
        mean, var = both.mean((1, 2, 3), keepdim=True), both.var((1, 2, 3), keepdim=True, unbiased=False)
        normal = ((own - mean) / (var + layer.eps).sqrt()).flatten(0, 1)
        wanted = normal * layer.weight.view(-1, 1, 1) + layer.bias.view(-1, 1, 1)
        assert torch.allclose(found[row], wanted, atol=1e-5)


def test_it_changes_pictures_beside_a_reference_alone_and_is_undone(base: Any) -> None:
    before = state(base)
    assert torch.equal(
        painted(base, shared_statistics(), reference_stream=False), painted(base, reference_stream=False)
    )
    plain, half, whole = (
        painted(base),
        painted(base, shared_statistics(), scale=0.5),
        painted(base, shared_statistics()),
    )
    assert not torch.allclose(plain, whole, atol=1e-2)
    assert 0 < float((half - plain).norm()) < float((whole - plain).norm())
    assert same(state(base), before)
    assert untouched(base)


def test_a_base_without_such_layers_shares_nothing(base: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "normalisations", dict)
    assert torch.equal(painted(base, shared_statistics()), painted(base))
