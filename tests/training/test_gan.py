"""The GAN of faces: its pictures, its two stages, and the folder that they make."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from limner.bases.gan.encoder import open_encoder
from limner.bases.gan.stylegan import StyleGAN, StyleGANConfig, open_stylegan
from limner.pocket.world.drawing import landmarks_of
from training.pocket import gan, judges
from training.pocket.data import pictures
from training.pocket.run import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("run"), pictures=16, size=64, scale=0.0001, precision="float32")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gan, "CONFIG", StyleGANConfig(size=16, latent=8, width=8, mapping=2, channels=4, most=8))


def test_squares_hold_the_face(run: Run) -> None:
    graph = pictures(run, "people").graphs[0]
    points = landmarks_of(graph, run.size)[0]
    left, top, side = gan._square(points, run.size)
    assert (points >= (left, top)).all()
    assert (points <= (left + side, top + side)).all()
    assert gan.faces_of(run).shape == (len(pictures(run, "people").graphs), 3, 16, 16)


def test_the_generator_learns_from_the_critic_and_not_the_other_way() -> None:
    critic, fake = gan.Discriminator(gan.CONFIG), torch.rand(2, 3, 16, 16, requires_grad=True)
    gan.against(critic, fake).sum().backward()
    assert fake.grad is not None
    assert all(p.grad is None for p in critic.parameters())


def test_mixed_codes_change_at_one_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gan, "MIXED", 1.0)
    codes = gan.mixed_codes(StyleGAN(gan.CONFIG), 8, torch.Generator().manual_seed(0), "cpu")
    changes = (codes[:, 1:] != codes[:, :-1]).any(-1).sum(1)
    assert changes.tolist() == [1] * 8


def test_stages_train_finish_and_are_exported(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for stage in ("judge", "faces"):
        getattr(judges, stage)(run)
    network = gan.gan(run)
    assert float(network.mean_w.abs().sum()) > 0
    again = gan.gan(run)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))
    gan.encoder(run)
    gan.export_gan(run, tmp_path)
    codes = open_encoder(tmp_path / "gan")(torch.rand(2, 3, 64, 64))
    assert open_stylegan(tmp_path / "gan")(codes).shape == (2, 3, 16, 16)
