"""One control branch for several maps, whose features modulate its normalisations (Uni-ControlNet)."""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import ControlNetModel
from torch import Generator, Tensor, nn

from .control import _initialise, _unet

WIDTHS = (3, 4, 6, 8)
"""Channels of the feature pyramid's levels, in units; the authors' unit is 64. Later levels have the last one."""
ZERO = ("copy.controlnet_down_blocks.", "copy.controlnet_mid_block.", "features.ends.")
"""Prefixes of the convolutions that start at zero."""


class Modulated(nn.Module):
    """FDN(h) = norm(h) * (1 + gamma(c)) + beta(c), with c the features of the maps at h's resolution."""

    def __init__(self, norm: nn.Module, channels: int, width: int) -> None:
        super().__init__()
        self.norm = norm
        self.gamma = nn.Conv2d(width, channels, 3, padding=1)
        self.beta = nn.Conv2d(width, channels, 3, padding=1)
        self.shown: Tensor | None = None  # [B, width, h, w]; set before every run

    def forward(self, hidden: Tensor) -> Tensor:
        assert self.shown is not None
        shown = F.interpolate(self.shown, hidden.shape[-2:], mode="nearest")
        changed: Tensor = self.norm(hidden) * (1 + self.gamma(shown)) + self.beta(shown)
        return changed


class Pyramid(nn.Module):
    """Features of maps at each resolution of the down path, which pass convolutions that start at zero."""

    def __init__(self, channels: int, widths: list[int], halvings: int) -> None:
        super().__init__()
        sizes = [channels, *[widths[0]] * halvings]
        self.start = nn.ModuleList(nn.Conv2d(a, b, 3, 2, padding=1) for a, b in itertools.pairwise(sizes))
        every = itertools.pairwise([sizes[-1], *widths])
        self.levels = nn.ModuleList(nn.Conv2d(a, b, 3, 2 if k else 1, padding=1) for k, (a, b) in enumerate(every))
        self.ends = nn.ModuleList(nn.Conv2d(width, width, 1) for width in widths)

    def forward(self, maps: Tensor) -> list[Tensor]:
        for layer in self.start:
            maps = F.silu(layer(maps))
        shown = []
        for level, end in zip(self.levels, self.ends, strict=True):
            maps = F.silu(level(maps))
            shown.append(end(maps))
        return shown


class _Nothing(nn.Module):
    """In place of the network that adds a condition to the first layer's output."""

    def forward(self, condition: Tensor) -> Tensor:
        return torch.zeros((), device=condition.device, dtype=condition.dtype)


class StackedControl(nn.Module):
    """A copy of the down path and the middle, in which the first block at each resolution is modulated."""

    def __init__(self, copy: Any, channels: int, unit: int, halvings: int) -> None:
        super().__init__()
        widths = [unit * WIDTHS[min(k, len(WIDTHS) - 1)] for k in range(len(copy.down_blocks))]
        copy.controlnet_cond_embedding = _Nothing()
        for block, width in zip(copy.down_blocks, widths, strict=True):
            first = block.resnets[0]
            first.norm1 = Modulated(first.norm1, first.in_channels, width)
        self.copy = copy
        self.features = Pyramid(channels, widths, halvings)

    def forward(self, noised: Tensor, time: Tensor, states: Tensor, maps: Tensor, **more: Any) -> tuple[Any, Tensor]:
        """Residuals for the skip connections and for the middle, from maps [B, channels, H, W]."""
        norms = [block.resnets[0].norm1 for block in self.copy.down_blocks]
        for norm, shown in zip(norms, self.features(maps), strict=True):
            norm.shown = shown
        try:
            reads = int(self.copy.config.in_channels)
            residuals: tuple[Any, Tensor] = self.copy(
                noised[:, :reads], time, states, controlnet_cond=maps, return_dict=False, **more
            )
        finally:
            for norm in norms:
                norm.shown = None
        return residuals


def stacked_control(base: Any, channels: int, unit: int, generator: Generator) -> tuple[nn.Module, dict[str, Tensor]]:
    """One control branch for all maps of a base's UNet, and its initial weights by name.

    The down path and the middle start as copies of the UNet's own; convolutions behind them and behind the features of
    the maps start at zero.

    base: the base whose UNet is copied
    channels: number of channels of all maps together
    unit: unit of the widths of the features
    generator: draws the random weights

    Raises `InputError` for a base without a UNet.
    """
    unet = _unet(base)
    halvings = (base.picture_size // base.latent_shape[1]).bit_length() - 1
    with torch.device("meta"):
        copy = ControlNetModel.from_unet(unet, load_weights_from_unet=False, conditioning_channels=channels)
        network = StackedControl(copy, channels, unit, halvings)
    own, start = unet.state_dict(), {}
    for name, like in network.state_dict().items():
        original = name.removeprefix("copy.").replace(".norm1.norm.", ".norm1.")
        if name.startswith("copy.") and original in own:
            start[name] = own[original].detach().clone()
        else:
            start[name] = torch.zeros(like.shape) if name.startswith(ZERO) else _initialise(like, generator)
    return network, start
