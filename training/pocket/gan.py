"""A GAN of the world's faces, and an encoder into its space W+: what W+ methods and the GAN's own stand on.

Neither is part of what ships at once: the stages run when they are asked for (`--stage gan gan_encoder`).
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from limner.bases.gan.encoder import WEIGHTS as ENCODER
from limner.bases.gan.encoder import WPlusEncoder
from limner.bases.gan.stylegan import Equalised, StyleGAN, StyleGANConfig, save_network
from limner.pocket.judges import WEIGHTS
from limner.pocket.world.drawing import landmarks_of

from . import judges
from .data import floats, pictures, rows
from .run import Run, train

CONFIG = StyleGANConfig(size=64)
AROUND = 1.9
"""Side of the square that a face is cut out in, in heights of its landmarks' box."""
MIXED = 0.5
"""Share of pictures painted by two codes, each in a part of the layers (style mixing, Sec. 3.1 of arXiv:1812.04948)."""
SLOPE, EVERY = 1.0, 16
"""R1's weight (gamma), and at how many updates it is taken once (Sec. 3.1 of arXiv:1912.04958)."""
RATE, BETAS = 2e-3, (0.0, 0.99)
NAME, ENCODER_NAME = "gan", "gan_encoder"


class Discriminator(nn.Module):
    """Pictures [B, 3, size, size] -> [B]: how real they are. Residual, with the deviation over the batch as one more
    channel."""

    def __init__(self, config: StyleGANConfig) -> None:
        super().__init__()
        sides = config.sides[::-1]
        self.first = nn.Conv2d(3, config.wide(sides[0]), 1)
        self.blocks = nn.ModuleList([_Down(config.wide(a), config.wide(b)) for a, b in itertools.pairwise(sides)])
        wide = config.wide(4)
        self.last = nn.Conv2d(wide + 1, wide, 3, 1, 1)
        self.out = nn.Sequential(Equalised(wide * 16, wide), nn.LeakyReLU(0.2), Equalised(wide, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        h = F.leaky_relu(self.first(pixels * 2 - 1), 0.2)
        for block in self.blocks:
            h = block(h)
        spread = h.float().std(0, correction=0).mean().to(h).expand(len(h), 1, *h.shape[2:])
        h = F.leaky_relu(self.last(torch.cat([h, spread], 1)), 0.2)
        scores: Tensor = self.out(h.flatten(1))[:, 0]
        return scores


class _Down(nn.Module):
    def __init__(self, wide_in: int, wide_out: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(wide_in, wide_in, 3, 1, 1)
        self.second = nn.Conv2d(wide_in, wide_out, 3, 1, 1)
        self.around = nn.Conv2d(wide_in, wide_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = F.leaky_relu(self.first(x), 0.2)
        h = F.avg_pool2d(F.leaky_relu(self.second(h), 0.2), 2)
        out: Tensor = (h + self.around(F.avg_pool2d(x, 2))) / 2**0.5
        return out


def faces_of(run: Run) -> Tensor:
    """[N, 3, size, size] uint8: the first face of every picture of people, in a square around it."""
    data = pictures(run, "people", workers=2)
    faces = torch.empty(len(data.pixels), 3, CONFIG.size, CONFIG.size, dtype=torch.uint8)
    for k, graph in enumerate(data.graphs):
        left, top, side = _square(landmarks_of(graph, run.size)[0], run.size)
        cut = data.pixels[k : k + 1, :, top : top + side, left : left + side].float()
        small = F.interpolate(cut, (CONFIG.size, CONFIG.size), mode="bilinear", antialias=True)
        faces[k] = small[0].round().clamp(0, 255).byte()
    return faces


def _square(points: np.ndarray, size: int) -> tuple[int, int, int]:
    (left, top), (right, bottom) = points.min(0), points.max(0)
    side = min(round(AROUND * max(bottom - top, right - left)), size)
    x, y = ((a + b - side) / 2 for a, b in ((left, right), (top, bottom)))
    return round(min(max(x, 0), size - side)), round(min(max(y, 0), size - side)), side


def gan(run: Run) -> StyleGAN:
    """The generator: non-saturating loss, R1 now and then, style mixing, averaged weights."""
    torch.manual_seed(20)
    network = StyleGAN(CONFIG)
    if run.finished(NAME):
        network.load_state_dict(run.weights(NAME))
        return network.eval()
    critic, real = Discriminator(CONFIG), faces_of(run)
    batch = min(32, len(real))

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        at = torch.Generator().manual_seed(run.seed * 1_000_003 + step)
        network.train()
        true = floats(real[rows(len(real), batch, step, seed=run.seed, purpose=NAME)]).to(run.device)
        w_plus = mixed_codes(network, batch, at, run.device)
        drawn = torch.Generator(run.device).manual_seed(step)
        with run.mixed():
            fake = network(w_plus, noise=drawn)
            of_true, of_fake = critic(true).float(), critic(fake.detach()).float()
            wanted = against(critic, fake).float()
        critic_loss = F.softplus(-of_true).mean() + F.softplus(of_fake).mean()
        value = critic_loss + F.softplus(-wanted).mean()
        if step % EVERY == 0:
            value = value + EVERY * SLOPE / 2 * _steepness(critic, true)
        return value, {"critic": critic_loss.item(), "generator": F.softplus(-wanted).mean().item()}

    generator = train(
        run,
        NAME,
        network,
        loss,
        steps=run.steps(25_000),
        lr=RATE,
        weight_decay=0.0,
        more=critic,
        betas=BETAS,
        plain=True,
    )
    assert isinstance(generator, StyleGAN)
    return generator


def mixed_codes(network: StyleGAN, batch: int, at: torch.Generator, device: str) -> Tensor:
    """[batch, num_styles, width]: codes of random z, a share of them changing at a random layer."""
    first, second = (network.to_w(torch.randn(batch, CONFIG.latent, generator=at).to(device)) for _ in range(2))
    count = network.config.num_styles
    begins = torch.randint(1, count, (batch, 1), generator=at)
    begins[torch.rand(batch, generator=at) >= MIXED] = count
    late = (torch.arange(count) >= begins).to(device)
    return torch.where(late[:, :, None], second[:, None], first[:, None])


def against(critic: nn.Module, fake: Tensor) -> Tensor:
    """[B]: the critic's word, whose gradient reaches the pictures and not the critic."""
    frozen = {name: value.detach() for name, value in critic.named_parameters()}
    scores: Tensor = functional_call(critic, frozen, (fake,))
    return scores


def _steepness(critic: nn.Module, true: Tensor) -> Tensor:
    """R1: the mean squared length of the critic's gradient at true pictures (arXiv:1801.04406), in single precision."""
    pixels = true.detach().float().requires_grad_(True)
    (slope,) = torch.autograd.grad(critic(pixels).sum(), pixels, create_graph=True)
    return slope.square().sum((1, 2, 3)).mean()


# ------------------------------------------------------------------------------------------------------------ encoder

PIXELS, SEEN, PERSON, OFFSETS, NEAR = 1.0, 0.8, 0.1, 2e-4, 0.1
"""Weights of squared pixels, of what a judge sees, of the person, of offsets' lengths, and of nearness to W (Sec. 4 of
arXiv:2102.02766, where LPIPS and ArcFace stand in the place of the world's judges)."""


class CodeCritic(nn.Module):
    """Vectors [B, width] -> [B]: whether they come from W."""

    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = [width, width, width, width]
        layers = [module for a, b in itertools.pairwise(sizes) for module in (Equalised(a, b), nn.LeakyReLU(0.2))]
        self.layers = nn.Sequential(*layers, Equalised(width, 1))

    def forward(self, codes: Tensor) -> Tensor:
        scores: Tensor = self.layers(codes)[..., 0]
        return scores


def encoder(run: Run) -> WPlusEncoder:
    """The encoder into W+ of the generator that was trained before."""
    torch.manual_seed(21)
    generator = gan(run).to(run.device).requires_grad_(False).eval()
    network = WPlusEncoder(CONFIG, generator.mean_w.cpu())
    if run.finished(ENCODER_NAME):
        network.load_state_dict(run.weights(ENCODER_NAME))
        return network.eval()
    real, critic = faces_of(run), CodeCritic(CONFIG.width)
    judge, person = (each(run).to(run.device).requires_grad_(False).eval() for each in (judges.judge, judges.faces))
    batch, steps = min(16, len(real)), run.steps(8_000)

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        at = torch.Generator().manual_seed(run.seed * 1_000_003 + step)
        network.offsets = min(CONFIG.num_styles - 1, 1 + 2 * step * CONFIG.num_styles // steps)
        true = floats(real[rows(len(real), batch, step, seed=run.seed, purpose=ENCODER_NAME)]).to(run.device)
        with run.mixed():
            codes = network(true)
            shown = generator(codes).float().clamp(-0.2, 1.2)
        codes, near = codes.float(), _as_read(shown, run.size)
        w = generator.to_w(torch.randn(batch, CONFIG.latent, generator=at).to(run.device))
        critic_loss = F.softplus(-critic(w)).mean() + F.softplus(critic(codes.detach().flatten(0, 1))).mean()
        terms = {
            "pixels": PIXELS * (shown - true).square().mean(),
            "seen": SEEN * _apart(judge.features, near, _as_read(true, run.size)),
            "person": PERSON * (1 - (person(near) * person(_as_read(true, run.size))).sum(-1)).mean(),
            "offsets": OFFSETS * (codes[:, 1:] - codes[:, :1]).norm(dim=-1).sum(1).mean(),
            "near w": NEAR * F.softplus(-against(critic, codes.flatten(0, 1))).mean(),
        }
        return critic_loss + sum(terms.values(), torch.zeros((), device=run.device)), {
            name: term.item() for name, term in terms.items()
        }

    w_plus_encoder = train(
        run, ENCODER_NAME, network, loss, steps=steps, lr=1e-3, weight_decay=0.0, more=critic, plain=True
    )
    assert isinstance(w_plus_encoder, WPlusEncoder)
    return w_plus_encoder


def _as_read(pixels: Tensor, size: int) -> Tensor:
    """As the judges read pictures: of the run's size."""
    return F.interpolate(pixels.float().clamp(0, 1), (size, size), mode="bilinear")


def _apart(features: Any, first: Tensor, second: Tensor) -> Tensor:
    """How far two pictures are by unit vectors of a network's features."""
    a, b = (F.normalize(features(x).float(), dim=-1) for x in (first, second))
    return (a - b).square().sum(-1).mean()


def export_gan(run: Run, folder: Path = WEIGHTS) -> None:
    """Write gan/ beside the base: the generator, and the encoder where the run has made one."""
    shutil.rmtree(folder / "gan", ignore_errors=True)
    if not run.finished(NAME):
        return
    gan(run).save(folder / "gan")
    if run.finished(ENCODER_NAME):
        config: Mapping[str, Any] = asdict(CONFIG)
        save_network(encoder(run), config, folder / "gan", ENCODER)
