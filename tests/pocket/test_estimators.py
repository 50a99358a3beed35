"""The pocket world's estimators: conditions computed from a picture, near the renderer's truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from limner.bases.common.loading import facts_of
from limner.parts.encoders.conditions import computed
from limner.pocket import estimators
from limner.pocket.corpus import _graph, toys
from limner.pocket.world import SceneGraph, draw, sample
from training.pocket import depth as training
from training.pocket.depth import inverse_of
from training.pocket.run import Run


def held_out(count: int) -> list[SceneGraph]:
    return [sample(700_000_000 + k, split="held-out") for k in range(count)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("run"), pictures=16, size=64, scale=0.0001, precision="float32")


def test_segmentation_finds_held_out_toys(base: Any) -> None:
    drawn = draw(held_out(16))
    shown = computed("segmentation", drawn.pixels.float() / 255, {}, base.capabilities.estimators)
    assert shown.shape == (16, 1, *drawn.masks.shape[1:])
    assert set(shown.unique().tolist()) == {0.0, 1.0}
    found = shown[:, 0].bool()
    assert float((found & drawn.masks).sum() / (found | drawn.masks).sum()) > 0.7


def test_depth_is_near_the_renderers(base: Any) -> None:
    """By its mean error on held-out toys, against that of their mean map."""
    drawn = draw(held_out(24))
    found = computed("depth", drawn.pixels.float() / 255, {}, base.capabilities.estimators)
    wanted = inverse_of(drawn.depth).float() / 255
    error, blind = ((maps - wanted).abs().mean() for maps in (found, wanted.mean(0, keepdim=True)))
    assert error < 0.5 * blind


def test_a_server_knows_them_without_opening_the_base(base: Any) -> None:
    assert facts_of("pocket").estimators == tuple(base.capabilities.estimators)
    assert "segmentation" in facts_of("pocket").estimators
    assert facts_of("path/to/another").estimators == ()


def test_inverse_depth_is_that_of_the_corpus() -> None:
    """Concepts that read depth are trained on the corpus's maps."""
    depths: Tensor = toys(2).depths(range(3), 128)
    assert torch.equal(inverse_of(draw([_graph(k) for k in range(3)]).depth), depths)


def test_the_stage_of_depth_trains_and_renders_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    network = training.depth(run)
    assert run.finished("depth")
    monkeypatch.setattr(training, "draw_many", lambda graphs, **_: iter(1 / 0 for _ in graphs))
    again = training.depth(run)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))
    pixels, inverse = training.pictures(replace(run, scale=1.0))
    assert pixels.shape == (8, 3, 64, 64)
    assert inverse.shape == (8, 1, 64, 64)
    assert inverse.amax((1, 2, 3)).eq(255).all()


def test_depth_has_its_nearest_point_at_one(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By whatever weights lie where an edition has them."""
    save_file({name: value.half() for name, value in training.depth(run).state_dict().items()}, tmp_path / "depth")
    monkeypatch.setattr(estimators, "WEIGHTS", tmp_path / "depth")
    estimators.network.cache_clear()
    try:
        pixels = torch.rand(3, 3, 128, 128, generator=torch.Generator().manual_seed(0))
        found = estimators.depth(pixels)
    finally:
        estimators.network.cache_clear()
    assert found.shape == (3, 1, 128, 128)
    assert torch.allclose(found.amax((1, 2, 3)), torch.ones(3))
    assert float(found.min()) >= 0
