"""The small StyleGAN: its spaces, its files, and an encoder into W+."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from limner.bases.gan.encoder import WEIGHTS as ENCODER
from limner.bases.gan.encoder import WPlusEncoder, open_encoder
from limner.bases.gan.stylegan import CONFIG, Modulated, StyleGAN, StyleGANConfig, open_stylegan, save_network
from limner.errors import FileError, InputError
from limner.parts.encoders import gan_latent

SMALL = StyleGANConfig(size=16, latent=6, width=8, mapping=2, channels=4, most=8)


@pytest.fixture
def network() -> StyleGAN:
    torch.manual_seed(0)
    return StyleGAN(SMALL).eval()


def codes(network: StyleGAN, count: int = 2) -> Tensor:
    return network.to_w(torch.randn(count, SMALL.latent, generator=torch.Generator().manual_seed(1)))


def test_spaces_and_their_shapes(network: StyleGAN) -> None:
    w = codes(network)
    w_plus = network.to_w_plus(w)
    assert w_plus.shape == (2, SMALL.num_styles, SMALL.width)
    assert SMALL.num_styles == 6  # 2 log2(16) - 2
    styles = network.to_styles(w_plus)
    assert len(styles) == len(network.style_names) == 8
    assert network.style_names[:3] == ["4.conv", "4.pixels", "8.up"]
    assert network(w_plus).shape == (2, 3, 16, 16)
    torch.testing.assert_close(network.synthesise(styles), network(w_plus))


def test_a_layer_of_w_plus_acts_where_it_is(network: StyleGAN) -> None:
    """Another vector in the last layer leaves all maps before it as they are."""
    w_plus = network.to_w_plus(codes(network)).clone()
    moved = w_plus.clone()
    moved[:, -1] += 1
    before, after = network.to_styles(w_plus), network.to_styles(moved)
    same = [torch.equal(a, b) for a, b in zip(before, after, strict=True)]
    assert same == [True] * 7 + [False]  # the last is "16.pixels" alone
    moved[:, -2] += 1
    same = [torch.equal(a, b) for a, b in zip(before, network.to_styles(moved), strict=True)]
    assert same == [True] * 6 + [False] * 2


def test_a_side_and_the_next_share_a_vector(network: StyleGAN) -> None:
    w_plus = network.to_w_plus(codes(network)).clone()
    moved = w_plus.clone()
    moved[:, 1] += 1
    pairs = zip(network.style_names, network.to_styles(w_plus), network.to_styles(moved), strict=True)
    assert [name for name, a, b in pairs if not torch.equal(a, b)] == ["4.pixels", "8.up"]


def test_demodulation_keeps_deviations_at_one() -> None:
    """Inputs of standard deviation 1 give outputs of standard deviation 1 for any style (Sec. 2.2 of
    arXiv:1912.04958)."""
    torch.manual_seed(0)
    conv = Modulated(32, 48, 3)
    style = torch.randn(4, 32) * 5
    out = conv(torch.randn(4, 32, 24, 24), style)[:, :, 2:-2, 2:-2]
    assert float(out.detach().std()) == pytest.approx(1, abs=0.05)
    plain = Modulated(32, 48, 3, demodulate=False)(torch.randn(4, 32, 24, 24), style)
    assert float(plain.detach().std()) > 3


def test_modulation_scales_the_weights() -> None:
    """Scaling inputs is what scaling the weights' input channels is: Eq. 1, computed the other way."""
    torch.manual_seed(0)
    conv, x, style = Modulated(5, 7, 3), torch.randn(1, 5, 6, 6), torch.randn(1, 5)
    weight = conv.weight * conv.scale * style[0][None, :, None, None]
    weight = weight * (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).rsqrt()
    torch.testing.assert_close(conv(x, style), torch.nn.functional.conv2d(x, weight, padding=1))


def test_truncation_leads_to_the_mean(network: StyleGAN) -> None:
    network.train()
    for _ in range(3):
        codes(network, 64)
    network.eval()
    z = torch.randn(4, SMALL.latent)
    far, near = (network.to_w(z, truncation=share) for share in (1.0, 0.5))
    torch.testing.assert_close(near, (far + network.mean_w) / 2)
    assert network.mean_w.abs().sum() > 0


def test_noise_is_a_stream_of_its_own(network: StyleGAN) -> None:
    w_plus = network.to_w_plus(codes(network))
    with torch.no_grad():
        for layer in network.layers:
            cast("Tensor", layer.noise).fill_(0.5)
    first, again = (network(w_plus, noise=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, network(w_plus, noise=torch.Generator().manual_seed(4)))
    assert torch.equal(network(w_plus), network(w_plus))


def test_a_code_is_recovered_from_its_own_picture(network: StyleGAN) -> None:
    """W+ comes nearer to a picture than W does, and gradients reach every vector of the code."""
    goal = network(torch.randn(1, SMALL.num_styles, SMALL.width)).detach()
    errors = []
    for shape in ((1, 1, SMALL.width), (1, SMALL.num_styles, SMALL.width)):
        code = torch.zeros(shape).requires_grad_(True)
        optimizer = torch.optim.Adam([code], 0.1)
        for _ in range(60):
            optimizer.zero_grad()
            error = (network(code.expand(-1, SMALL.num_styles, -1)) - goal).square().mean()
            error.backward()
            optimizer.step()
        errors.append(float(error.detach()))
        assert code.grad is not None
        assert bool((code.grad.abs().sum(-1) > 0).all())
    assert errors[1] < 0.5 * errors[0]


def test_files_hold_the_same_network(network: StyleGAN, tmp_path: Path) -> None:
    network.save(tmp_path)
    again = open_stylegan(tmp_path)
    w_plus = network.to_w_plus(codes(network))
    assert torch.equal(network(w_plus), again(w_plus))
    assert not any(p.requires_grad for p in again.parameters())


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"size": 20}, "power of 2 from 8 to 1024, not 20"),
        ({"width": "8"}, "width of"),
        ({"width": 9}, "does not fit its config.json"),
        ({"depth": 1}, "must hold channels, latent"),
    ],
)
def test_folders_that_are_none_are_said(network: StyleGAN, tmp_path: Path, change: dict[str, Any], word: str) -> None:
    network.save(tmp_path)
    (tmp_path / CONFIG).write_text(json.dumps(asdict(SMALL) | change))
    with pytest.raises(FileError, match=word):
        open_stylegan(tmp_path)


def test_a_folder_without_a_part_says_which(network: StyleGAN, tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"has no config.json: expected the folder of a StyleGAN"):
        open_stylegan(tmp_path)
    network.save(tmp_path)
    with pytest.raises(FileError, match=r"has no encoder.safetensors"):
        open_encoder(tmp_path)
    with pytest.raises(InputError, match=r"\[B, 6, 8\] for this generator, not \[1, 8\]"):
        network(torch.zeros(1, 8))


def test_offsets_are_let_in_one_by_one(network: StyleGAN) -> None:
    torch.manual_seed(0)
    encoder, pixels = WPlusEncoder(SMALL, torch.ones(SMALL.width), wide=8).eval(), torch.rand(2, 3, 16, 16)
    encoder.offsets = 0
    code = encoder(pixels)
    assert torch.equal(code, code[:, :1].expand_as(code))  # in W
    encoder.offsets = 2
    some = encoder(pixels)
    assert torch.equal(some[:, 0], code[:, 0])
    assert torch.equal(some[:, 3:], code[:, 3:])
    assert not torch.equal(some[:, 1:3], code[:, 1:3])


def test_codes_of_pictures_through_a_folder(network: StyleGAN, tmp_path: Path, base: Any) -> None:
    network.save(tmp_path)
    encoder = WPlusEncoder(SMALL)
    save_network(encoder, asdict(SMALL), tmp_path, ENCODER)
    pixels = torch.rand(2, 3, 40, 40)
    found = gan_latent(str(tmp_path))(base, pixels)
    assert found.shape == (2, SMALL.num_styles, SMALL.width)
    torch.testing.assert_close(found, encoder.eval()(pixels))
    if "w_plus" not in base.encoders:
        with pytest.raises(InputError, match="no encoder into the space W"):
            gan_latent()(base, pixels)
