"""A sharper decoder: the encoder stays as it is, so that latents, and every denoiser that paints them, stay too.

Pixels alone teach a decoder to blur what its latents leave open. Here a critic of small patches (hinge loss, as in
arXiv:2012.09841, Sec. 3.1) and the first maps of a judge (a perceptual loss, arXiv:1603.08155) ask for edges, and the
latents carry a little noise, as painted ones do.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.core.streams import stream
from limner.pocket.networks import Features

from . import autoencoder as ae
from .autoencoder import FACTOR, SHARP, differences
from .data import floats, pictures, rows
from .judges import identity_of
from .run import Run, train

BATCH = 12
CROP = 64  # pixels
NOISE = 0.3  # most of the latents' spread that is added to them as noise
PERCEPTUAL, ADVERSARIAL = 0.3, 0.03  # weights beside that of pixels, 1
CRITIC_FROM = 300  # updates before the critic is heard


class Critic(nn.Module):
    """Pictures [B, 3, H, W] in [-1, 1] -> how real each patch of 22 pixels looks, [B, 1, H/8, W/8]."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        norm = nn.utils.parametrizations.spectral_norm
        widths = (3, width, 2 * width, 4 * width)
        layers = [norm(nn.Conv2d(a, b, 4, 2, 1)) for a, b in itertools.pairwise(widths)]
        self.layers = nn.ModuleList(layers)
        self.out = norm(nn.Conv2d(widths[-1], 1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        h = pixels
        for layer in self.layers:
            h = F.leaky_relu(layer(h), 0.2)
        out: Tensor = self.out(h)
        return out


def decoder(run: Run) -> Any:
    """The standardised autoencoder with a decoder that learned to paint sharp edges."""
    network = ae.standardised(run)
    if run.finished(SHARP):
        network.load_state_dict(run.weights(SHARP))
        return network.eval()
    network.encoder.requires_grad_(False)
    network.quant_conv.requires_grad_(False)
    torch.manual_seed(9)
    critic = Critic().to(run.device)
    looks = identity_of(run).features.to(run.device).requires_grad_(False)
    data, (coded, _) = pictures(run, "train"), ae.train_latents(run)
    spread = coded[:4096].float().std((0, 2, 3)).view(1, -1, 1, 1)

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        chosen = rows(len(data.pixels), BATCH, step, seed=run.seed, purpose=SHARP)
        at = stream(run.seed, SHARP, step)
        wanted, z = _crops(floats(data.pixels[chosen]) * 2 - 1, coded[chosen].float(), at)
        share = NOISE * torch.rand(BATCH, 1, 1, 1, generator=at)
        z = z + share * spread * torch.randn(z.shape, generator=at)
        wanted, z = wanted.to(run.device), z.to(run.device)
        with run.mixed():
            out = network.decode(z).sample
        out = out.float()
        off = out - wanted
        pixels = off.abs().mean() + differences(off).abs().mean()
        perceptual = _far(looks, out, wanted)
        heard = -_frozen(critic, out).mean() if step >= CRITIC_FROM else out.new_zeros(())
        judged = F.relu(1 - critic(wanted)).mean() + F.relu(1 + critic(out.detach())).mean()
        value = pixels + PERCEPTUAL * perceptual + ADVERSARIAL * heard + judged
        error = F.mse_loss(out.detach().clamp(-1, 1), wanted) / 4
        sharp = differences(out.detach()).abs().mean() / differences(wanted).abs().mean()
        return value, {"psnr": -10 * error.log10().item(), "edges": sharp.item(), "critic": judged.item()}

    return train(run, SHARP, network, loss, steps=run.steps(6_600), lr=3e-4, weight_decay=0.0, ema=0.998, more=critic)


def _crops(pixels: Tensor, coded: Tensor, at: torch.Generator) -> tuple[Tensor, Tensor]:
    """One crop of each picture and of its latents, at the same position."""
    side = CROP // FACTOR
    places = torch.randint(coded.shape[-1] - side + 1, (len(coded), 2), generator=at).tolist()
    z = torch.stack([one[:, y : y + side, x : x + side] for one, (y, x) in zip(coded, places, strict=True)])
    corners = [(y * FACTOR, x * FACTOR) for y, x in places]
    crops = [one[:, y : y + CROP, x : x + CROP] for one, (y, x) in zip(pixels, corners, strict=True)]
    return torch.stack(crops).contiguous(), z.contiguous()


def _far(looks: Features, first: Tensor, second: Tensor) -> Tensor:
    """How far two batches in [-1, 1] are in the judge's first two maps, each at unit length in every position."""
    total, a, b = first.new_zeros(()), looks.stem((first + 1) / 2), looks.stem((second + 1) / 2)
    for k in range(2):
        total = total + (F.normalize(a, dim=1) - F.normalize(b, dim=1)).square().sum(1).mean()
        if k == 0:
            a, b = looks.blocks[0](a), looks.blocks[0](b)
    return total


def _frozen(critic: Critic, pixels: Tensor) -> Tensor:
    """The critic's score, with gradients to the pixels alone."""
    fixed = {name: value.detach() for name, value in critic.named_parameters()}
    out: Tensor = torch.func.functional_call(critic, fixed, (pixels,))
    return out
