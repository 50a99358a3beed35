"""The estimator of depth, trained on the depth that the renderer knows of every pixel."""

from __future__ import annotations

import sys
from dataclasses import replace

import torch
from torch import Tensor, nn

from limner.core.streams import stream
from limner.pocket.networks import Depths
from limner.pocket.world import draw_many

from .data import CHUNK, floats, graphs_of, read_strip, rows, write_strip
from .judges import nearer, softened
from .run import Run, train

NAME = "depth"
SHARE = 40  # depth is learned from one in so many of the run's training pictures


def depth(run: Run) -> nn.Module:
    """Inverse depth as a share of the picture's largest: 1 at its nearest point, 0 at the sky."""
    torch.manual_seed(13)
    network = Depths()
    if run.finished(NAME):
        network.load_state_dict(run.weights(NAME))
        return network.eval()
    pixels, inverse = pictures(run)
    batch = min(16, len(pixels))

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        chosen = rows(len(pixels), batch, step, seed=run.seed, purpose=NAME)
        at = stream(run.seed, NAME, step)
        near, _ = nearer(torch.cat([floats(pixels[chosen]), floats(inverse[chosen])], 1), at)
        wanted = (near[:, 3:] / near[:, 3:].amax((2, 3), keepdim=True).clamp_min(1e-3)).to(run.device)
        with run.mixed():
            out = network(softened(near[:, :3], step, at).to(run.device))
        value = (out.float().sigmoid() - wanted).abs().mean()
        return value, {"loss": value.item()}

    return train(run, NAME, network, loss, steps=run.steps(1_600), lr=2e-3)


def pictures(run: Run) -> tuple[Tensor, Tensor]:
    """Pixels [N, 3, S, S] and inverse depths [N, 1, S, S], both uint8, rendered now where they were not before."""
    graphs = graphs_of(replace(run, pictures=max(run.pictures // SHARE, 8)), "train")
    folder, parts = run.path(f"pictures/{NAME}"), range(-(-len(graphs) // CHUNK))
    missing = [k for k in parts if not (folder / f"{k:04}.png").exists()]
    todo = [graph for k in missing for graph in graphs[k * CHUNK : (k + 1) * CHUNK]]
    for k, drawn in zip(missing, draw_many(todo, size=run.size, chunk=CHUNK, device=run.device), strict=True):
        write_strip(folder / f"{k:04}.depth.png", inverse_of(drawn.depth).cpu())
        write_strip(folder / f"{k:04}.png", drawn.pixels.cpu())
        print(f"render {NAME}  {k + 1}/{len(parts)}", file=sys.stderr, flush=True)
    strips = [[read_strip(folder / f"{k:04}{end}.png", run.size) for k in parts] for end in ("", ".depth")]
    return torch.cat(strips[0]), torch.cat(strips[1])


def inverse_of(depths: Tensor) -> Tensor:
    """[B, 1, H, W] uint8: inverse depth of depths [B, H, W], 255 at each picture's nearest point and 0 at the sky."""
    inverse = 1 / depths[:, None]
    return (inverse / inverse.amax((2, 3), keepdim=True) * 255).round().byte()
