"""The picture autoencoder: `AutoencoderKL`, latents of 16x16 places, trained on crops."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from limner.core.streams import stream

from .data import floats, pictures, rows, strips
from .run import Run, train

LATENT_CHANNELS = 12
FACTOR = 8  # pixels to a place of the latents
CROP = 64
BATCH = 16
STANDARDISED, SHARP = "standardised", "decoder"
ON_TOYS = 3.0  # how much more an error counts there: eyes, patterns and accessories are a few pixels wide


def new_autoencoder(size: int) -> Any:
    from diffusers import AutoencoderKL

    torch.manual_seed(1)
    return AutoencoderKL(
        block_out_channels=(16, 32, 64, 64),  # few where there are many places: pictures are coded in milliseconds
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        mid_block_add_attention=False,
        sample_size=size,
        scaling_factor=1.0,
    )


def autoencoder(run: Run) -> Any:
    """Reconstruction of colours and of edges, with a slight pull of the latents to the normal distribution."""
    network = new_autoencoder(run.size)
    if run.finished("autoencoder"):
        network.load_state_dict(run.weights("autoencoder"))
        return network.eval()
    data = pictures(run, "train")

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        chosen = rows(len(data.pixels), BATCH, step, seed=run.seed, purpose="autoencoder")
        both = torch.cat([floats(data.pixels[chosen]), data.masks[chosen][:, None].float()], 1)
        pixels, toys = _crops(both, step, run.seed).to(run.device).split([3, 1], 1)
        with run.mixed():
            posterior = network.encode(pixels * 2 - 1).latent_dist
            noise = torch.randn(posterior.mean.shape, generator=stream(run.seed, "posterior", step))
            out = network.decode(posterior.mean + posterior.std * noise.to(run.device)).sample
        out, wanted = out.float(), pixels * 2 - 1
        counts = 1 + (ON_TOYS - 1) * toys
        counts = counts / counts.mean()
        off = out - wanted
        colour = (counts * (off.abs() + 2 * off.square())).mean()
        parts = [(F.avg_pool2d(off, k), F.avg_pool2d(counts, k)) for k in (1, 2)]
        edges = torch.stack([(share[..., 1:, 1:] * differences(error).abs()).mean() for error, share in parts]).sum()
        pull = posterior.kl().mean() / posterior.mean[0].numel()
        error = F.mse_loss(out.clamp(-1, 1), wanted).item() / 4
        return colour + edges + 3e-4 * pull, {"psnr": -10 * torch.tensor(error).log10().item(), "kl": pull.item()}

    return train(run, "autoencoder", network, loss, steps=run.steps(10_000), lr=1e-3, weight_decay=1e-4, ema=0.998)


def _crops(pixels: Tensor, step: int, seed: int) -> Tensor:
    """One crop of each picture, at a place that is a multiple of eight."""
    limit = (pixels.shape[-1] - CROP) // 8 + 1
    places = torch.randint(limit, (len(pixels), 2), generator=stream(seed, "crop", step)) * 8
    crops = [picture[:, y : y + CROP, x : x + CROP] for picture, (y, x) in zip(pixels, places.tolist(), strict=True)]
    return torch.stack(crops).contiguous()


def differences(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, 2 C, H - 1, W - 1]: differences to the left and up."""
    return torch.cat([(x[..., 1:, 1:] - x[..., :-1, 1:]), (x[..., 1:, 1:] - x[..., 1:, :-1])], 1)


def standardised(run: Run) -> Any:
    """The run's autoencoder with every latent channel at mean 0 over the "dev" pictures, and the loudest at variance 1.

    Both are folded into the 1x1 convolutions at either end of the latents, so what pictures come back as is unchanged
    and the scaling factor is 1. Faint channels stay faint: they hold fine detail, which denoising then settles last.
    """
    if not run.finished(STANDARDISED):
        run.save(STANDARDISED, _standardised(run).state_dict())
    network = new_autoencoder(run.size)
    network.load_state_dict(run.weights(STANDARDISED))
    return network.eval()


def _standardised(run: Run) -> Any:
    network = autoencoder(run).cpu()
    latent_means = latents(run, network, pictures(run, "dev").pixels[:512])
    mean, std = latent_means.mean((0, 2, 3)), latent_means.std((0, 2, 3))
    std = std.amax().expand(LATENT_CHANNELS)
    with torch.no_grad():
        into, back = network.quant_conv, network.post_quant_conv
        into.weight[:LATENT_CHANNELS] /= std.view(-1, 1, 1, 1)
        into.bias[:LATENT_CHANNELS] = (into.bias[:LATENT_CHANNELS] - mean) / std
        into.bias[LATENT_CHANNELS:] -= 2 * std.log()  # the logarithm of the variance
        back.bias += (back.weight[:, :, 0, 0] * mean).sum(1)
        back.weight *= std.view(1, -1, 1, 1)
    return network


def best(run: Run) -> Any:
    """The autoencoder that ships: with the sharpened decoder where the run has made one."""
    network = standardised(run)
    if run.finished(SHARP):
        network.load_state_dict(run.weights(SHARP))
    return network.eval()


def train_latents(run: Run) -> tuple[Tensor, Tensor]:
    """The training pictures through the standardised autoencoder, [N, C, S/8, S/8] in half precision, and how much of
    each of their positions is toys or people, [N, 1, S/8, S/8] in [0, 1]. Kept in the run, a file for every chunk of
    pictures."""
    parts, network = [], standardised(run)
    for k, chunk in strips(run, "train", workers=2):
        name = f"latents/{k:04}"
        if not run.finished(name):
            covered = F.avg_pool2d(chunk.masks[:, None].float(), FACTOR)
            run.save(name, {"latents": latents(run, network, chunk.pixels).half(), "covered": covered.half()})
        parts.append(run.weights(name))
    with torch.autocast("cpu", enabled=False):  # within one, halves cannot be joined on a processor
        whole, covered = (torch.cat([part[name] for part in parts]) for name in ("latents", "covered"))
    return whole, covered


@torch.no_grad()
def latents(run: Run, network: Any, pixels: Tensor) -> Tensor:
    """[N, 3, S, S] uint8 -> means of the latents, unscaled [N, C, S/8, S/8] float32."""
    means, layout = [], torch.channels_last  # twice as fast on a CPU where nothing learns
    network = copy.deepcopy(network).to(run.device, memory_format=layout)
    with run.mixed():
        for part in pixels.split(16):
            seen = (floats(part) * 2 - 1).to(run.device, memory_format=layout)
            means.append(network.encode(seen).latent_dist.mean.float().cpu())
    return torch.cat(means)
