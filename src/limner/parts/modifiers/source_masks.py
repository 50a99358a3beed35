"""The part of a source picture that may change, as masks of the latents' size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from limner.errors import InputError
from limner.parts.encoders.masks import LEAST
from limner.parts.encoders.scenes import MIDDLE
from limner.parts.sources.placing import box_masks

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Moment

MASK = "mask"
"""Name of the condition that is the part of the source picture that may change."""
WITHIN = 0.5
"""Least share of a position of the latents that a mask covers for the position to belong to it."""


def changeable(part: Any, moment: Moment, clean: Tensor, pixels: Tensor | None, rows: slice) -> Tensor:
    """[n, 1, h, w] of 0 and 1: the part of the source that may change.

    It is the condition "mask", else where the base's segmenter finds a subject. A source that the base painted and in
    which no subject is found has the MIDDLE. Raises `InputError` for a mask that is empty or covers everything, and
    where nothing says what may change.

    part: the part that has the source
    moment: the sampling step
    clean: latents of the sources [n, C, h, w]
    pixels: their pixels [n, 3, H, W]; None for sources that the base painted
    rows: their rows in the moment
    """
    import torch

    base = moment.adapted.base
    if MASK in moment.conditions:
        mask = (moment.conditions[MASK][rows].mean(1, keepdim=True) >= WITHIN).float()
        check_mask(mask)
        return at_latents(mask, clean.shape[-2:]).to(clean)
    if base.segmenter is None:
        raise InputError(
            f"{part.handle} needs to know what in the source picture may change, and {base.name} has no segmenter: give a "
            "mask, white where it may (conditions={'mask': picture}, --where FILE)"
        )
    shown = base.decode(clean) if pixels is None else pixels
    mask = (base.segmenter(shown.float()) > WITHIN).float()[:, None].to(clean.device)
    bare = (mask.mean((1, 2, 3)) < LEAST).view(-1, 1, 1, 1)
    if bool(bare.any()) and pixels is not None:
        raise InputError(
            f"no subject was found in the source picture, for {part.handle} to replace: give a mask, white where the "
            "picture may change (conditions={'mask': picture}, --where FILE)"
        )
    middle = box_masks(torch.tensor([MIDDLE], device=mask.device), mask.shape[-1])
    return at_latents(torch.where(bare, middle, mask), clean.shape[-2:]).to(clean)


def check_mask(mask: Tensor) -> None:
    """Raise `InputError` for masks [n, 1, H, W] of 0 and 1 that are empty, and for those that cover everything."""
    shares = mask.mean((1, 2, 3))
    if bool((shares == 0).any()):
        raise InputError("the mask of the source picture is empty: expected white where the picture may change")
    if bool((shares == 1).any()):
        raise InputError(
            "the mask of the source picture is white everywhere, so that nothing of the picture would be kept: expected "
            "black where it must stay"
        )


def at_latents(mask: Tensor, size: Any) -> Tensor:
    """[n, 1, h, w] of 0 and 1: masks at the latents' size. A mask that covers no position by WITHIN has those that it
    covers most.

    mask: [n, 1, H, W] of 0 and 1
    size: h and w
    """
    import torch.nn.functional as F

    share = F.adaptive_avg_pool2d(mask.float(), tuple(size))
    return (share >= share.amax((2, 3), keepdim=True).clamp_max(WITHIN)).to(mask)


def softened(mask: Tensor, dilate: float, blur: float) -> Tensor:
    """[n, 1, h, w] in [0, 1]: masks made wider by half of `dilate`, with a soft edge; exactly 0 farther away.

    The edge is a Gaussian filter of width `blur` (apply_soft_mask of eric-ai-lab/swap-anything, which takes 10 and 25
    of 64 positions); the mask itself stays 1.

    mask: [n, 1, h, w] of 0 and 1
    dilate: diameter of the dilation, as a share of the mask's side
    blur: width of the filter, as a share of the mask's side
    """
    import torch
    import torch.nn.functional as F

    side = mask.shape[-1]
    reach, width = round(dilate * side / 2), round(blur * side) // 2 * 2 + 1
    wide = F.max_pool2d(mask.float(), 2 * reach + 1, 1, reach)
    sigma = 0.3 * ((width - 1) / 2 - 1) + 0.8
    place = torch.arange(width, device=mask.device) - width // 2
    bell = torch.exp(-(place.float() ** 2) / (2 * sigma**2))
    bell = bell / bell.sum()
    padded = F.pad(wide, [width // 2] * 4, mode="replicate")
    soft = F.conv2d(F.conv2d(padded, bell.view(1, 1, 1, -1)), bell.view(1, 1, -1, 1)).clamp(0, 1)
    return torch.maximum(soft.to(mask), mask)
