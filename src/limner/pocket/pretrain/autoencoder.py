"""The picture autoencoder: `AutoencoderKL`, four times smaller latents, trained on crops."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from limner.streams import stream

from .data import floats, pictures, rows
from .run import Run, train

LATENT_CHANNELS = 8
CROP = 32
BATCH = 48


def new_autoencoder() -> Any:
    from diffusers import AutoencoderKL

    torch.manual_seed(1)
    return AutoencoderKL(
        block_out_channels=(32, 64, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=16,
        mid_block_add_attention=False,
        sample_size=64,
        scaling_factor=1.0,
    )


def autoencoder(run: Run) -> Any:
    """Reconstruction of colours and of edges, with a slight pull of the latents to the normal distribution."""
    network = new_autoencoder()
    if run.finished("autoencoder"):
        network.load_state_dict(run.weights("autoencoder"))
        return network.eval()
    data = pictures(run, "train")

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        chosen = rows(len(data.pixels), BATCH, step, seed=run.seed, purpose="autoencoder")
        pixels = _crops(floats(data.pixels[chosen]), step, run.seed).to(run.device)
        with torch.autocast(run.device, torch.bfloat16):
            posterior = network.encode(pixels * 2 - 1).latent_dist
            noise = torch.randn(posterior.mean.shape, generator=stream(run.seed, "posterior", step))
            out = network.decode(posterior.mean + posterior.std * noise.to(run.device)).sample
        out, wanted = out.float(), pixels * 2 - 1
        colour = F.l1_loss(out, wanted) + 2 * F.mse_loss(out, wanted)
        halves = [(F.avg_pool2d(out, k), F.avg_pool2d(wanted, k)) for k in (1, 2)]
        edges = torch.stack([F.l1_loss(_edges(a), _edges(b)) for a, b in halves]).sum()
        pull = posterior.kl().mean() / posterior.mean[0].numel()
        error = F.mse_loss(out.clamp(-1, 1), wanted).item() / 4
        return colour + edges + 3e-4 * pull, {"psnr": -10 * torch.tensor(error).log10().item(), "kl": pull.item()}

    return train(run, "autoencoder", network, loss, steps=run.steps(4200), lr=1e-3, weight_decay=1e-4, ema=0.998)


def _crops(pixels: Tensor, step: int, seed: int) -> Tensor:
    """One crop of each picture, at a place that is a multiple of four."""
    limit = (pixels.shape[-1] - CROP) // 4 + 1
    places = torch.randint(limit, (len(pixels), 2), generator=stream(seed, "crop", step)) * 4
    crops = [picture[:, y : y + CROP, x : x + CROP] for picture, (y, x) in zip(pixels, places.tolist(), strict=True)]
    return torch.stack(crops).contiguous()


def _edges(x: Tensor) -> Tensor:
    return torch.cat([(x[..., 1:, 1:] - x[..., :-1, 1:]), (x[..., 1:, 1:] - x[..., 1:, :-1])], 1)


def standardised(run: Run) -> Any:
    """The run's autoencoder with every latent channel at mean 0 and variance 1 over the "dev" pictures.

    Both are folded into the 1x1 convolutions at either end of the latents, so what pictures come back as is unchanged
    and the scaling factor is 1: the denoiser is spared channels of unlike size.
    """
    network = autoencoder(run)
    found = latents(run, network, pictures(run, "dev").pixels[:512])
    mean, std = found.mean((0, 2, 3)), found.std((0, 2, 3))
    with torch.no_grad():
        into, back = network.quant_conv, network.post_quant_conv
        into.weight[:LATENT_CHANNELS] /= std.view(-1, 1, 1, 1)
        into.bias[:LATENT_CHANNELS] = (into.bias[:LATENT_CHANNELS] - mean) / std
        into.bias[LATENT_CHANNELS:] -= 2 * std.log()  # the logarithm of the variance
        back.bias += (back.weight[:, :, 0, 0] * mean).sum(1)
        back.weight *= std.view(1, -1, 1, 1)
    return network


@torch.no_grad()
def latents(run: Run, network: Any, pixels: Tensor) -> Tensor:
    """[N, 3, S, S] uint8 -> means of the latents, unscaled [N, C, S/4, S/4] float32."""
    found = []
    with torch.autocast(run.device, torch.bfloat16):
        for part in pixels.split(128):
            found.append(network.encode((floats(part) * 2 - 1).to(run.device)).latent_dist.mean.float().cpu())
    return torch.cat(found)
