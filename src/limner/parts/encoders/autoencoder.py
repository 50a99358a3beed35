"""The autoencoder's convolutions as an encoder of style: statistics of their channels at several depths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from limner.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base

LEVELS = ("low", "middle", "high")
"""Names of the depths, from the finest to the coarsest."""


def autoencoder_levels(base: Base, pixels: Tensor) -> Tensor:
    """[n, 3, D]: mean and standard deviation over positions of each channel, at the three coarsest resolutions of the
    autoencoder's encoder, the finest of these first.

    At each resolution, the last of the widest convolutions is read. Each level is normalised, and filled with zeros to
    the width of the widest. Raises `InputError` for a base whose autoencoder has fewer resolutions, or that has none.

    base: the base
    pixels: [n, 3, H, W] in [0, 1]
    """
    import torch
    import torch.nn.functional as F

    maps = _maps(base, pixels)
    if len(maps) < len(LEVELS):
        raise InputError(
            f"this method reads an autoencoder at {len(LEVELS)} resolutions, and that of {base.name} ({base.family}) has "
            f"{len(maps)}: use a base that encodes pictures by convolutions, such as Stable Diffusion or SDXL"
        )
    levels = []
    for side in sorted(maps, reverse=True)[-len(LEVELS) :]:
        deviation, mean = torch.std_mean(maps[side].float(), (2, 3))
        both = torch.cat([mean, deviation], 1)
        levels.append(F.layer_norm(both, both.shape[1:]))
    wide = max(level.shape[1] for level in levels)
    return torch.stack([F.pad(level, (0, wide - level.shape[1])) for level in levels], 1)


def _maps(base: Base, pixels: Tensor) -> dict[int, Tensor]:
    """Side of a resolution -> output [n, C, h, w] of the last of its widest convolutions."""
    import torch

    maps: dict[int, Tensor] = {}

    def note(layer: Any, inputs: Any, output: Tensor) -> None:
        side = output.shape[-1]
        if side not in maps or output.shape[1] >= maps[side].shape[1]:
            maps[side] = output

    if "autoencoder" not in base.parts:
        return maps
    layers = [layer for layer in base.module("autoencoder").modules() if isinstance(layer, torch.nn.Conv2d)]
    handles = [layer.register_forward_hook(note) for layer in layers]
    try:
        with torch.no_grad():
            base.encode(pixels)
    finally:
        for handle in handles:
            handle.remove()
    return maps
