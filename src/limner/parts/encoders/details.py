"""Details of a subject: edges in their own colours, without flat regions (AnyDoor, arXiv:2307.09481)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

LEAST = 50 / 255
"""Strength of an edge below which the detail map is zero."""
RIM = 1 / 64
"""Width of the subject's rim that is left out, as a share of the picture's side: its outline against the background
would say more of the reference's pose than its details."""


def detail_map(pixels: Tensor, masks: Tensor, *, least: float = LEAST) -> Tensor:
    """[n, 3, H, W] in [0, 1]: the high-frequency map of the subject; black where it is flat.

    Eq. 1 of arXiv:2307.09481, with the filter of the authors' `sobel`: the mean of both Sobel gradients, each cut at 1,
    its largest channel, times the mask without its rim, and zero where it is below `least`; times the picture.

    pixels: pictures [n, 3, H, W] in [0, 1]
    masks: masks of the subject [n, 1, H, W] in [0, 1]
    least: strength of an edge below which the map is zero
    """
    import torch
    import torch.nn.functional as F

    one = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], device=pixels.device)
    kernels = torch.stack([one, one.T])[:, None].repeat(3, 1, 1, 1)  # both directions for each channel
    padded = F.pad(pixels.float(), (1, 1, 1, 1), mode="replicate")
    across, down = F.conv2d(padded, kernels, groups=3).abs().clamp(max=1).unflatten(1, (3, 2)).unbind(2)
    strength = ((across + down) / 2).amax(1, keepdim=True)
    rim = max(1, round(RIM * pixels.shape[-1]))
    inside = 1 - F.max_pool2d(F.pad(1 - (masks > 0.5).float(), (rim,) * 4, value=1.0), 2 * rim + 1, 1)
    return (strength * inside * (strength >= least) * pixels.float()).to(pixels)
