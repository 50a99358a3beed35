"""Painting styles: operations on rendered pictures. The style's traits come from the style's code alone, and the
paper's noise from the picture's seed alone, so that style and content are independent."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from . import crafts, painting, printing
from .artists import NUM_STYLE, STYLE_CODE, Style, style_of
from .strokes import Sheet, colour_edges, noise_fields, thickened

__all__ = ["FAMILIES", "NUM_STYLE", "STYLE_CODE", "Style", "style_of", "stylise"]

PEN = 128
"""Size in pixels at which an outline as thin as a picture can hold has the width that is meant; larger pictures thicken
it."""

FAMILIES: dict[str, Callable[[Sheet, Style], Tensor]] = {
    "watercolour": painting.watercolour,
    "line drawing": painting.line_drawing,
    "pixel art": printing.pixel_art,
    "pop art": printing.pop_art,
    "charcoal": painting.charcoal,
    "stained glass": crafts.stained_glass,
    "risograph": printing.risograph,
    "clay": crafts.clay,
    "oil painting": painting.oil_painting,
    "woodcut": printing.woodcut,
    "mosaic": crafts.mosaic,
    "pointillism": painting.pointillism,
    "blueprint": printing.blueprint,
    "crayon": painting.crayon,
    "embroidery": crafts.embroidery,
    "ink wash": painting.ink_wash,
    "neon": printing.neon,
    "paper cut-out": crafts.paper_cut_out,
}
"""Style family -> its operation, which returns [3, H, W]. `render` is none of them: it leaves pictures as they are."""


def stylise(
    pixels: Tensor,
    styles: Sequence[Style | str],
    seeds: Sequence[int],
    edges: Tensor | None = None,
    depth: Tensor | None = None,
) -> Tensor:
    """Paint each picture in its style, whatever else is in the batch.

    pixels: [B, 3, H, W] in [0, 1], squares; the result is the same shape and range
    styles: one each; the name of a family is its middle individual
    seeds: one each, for the paper's noise
    edges: [B, H, W] in [0, 1], outlines the renderer knows; without them, outlines are where colours change
    depth: [B, H, W], positive, inf at the sky; without it, brighter counts as farther
    """
    hands = [style_of(style) if isinstance(style, str) else style for style in styles]
    lines = colour_edges(pixels) if edges is None else torch.maximum(edges, 0.7 * colour_edges(pixels))
    if pixels.shape[-1] > 1.5 * PEN:
        lines = thickened(lines, round(pixels.shape[-1] / (2 * PEN)))
    away = pixels.mean(1) if depth is None else _closeness(depth)
    out = pixels.clone()
    for row, (style, seed) in enumerate(zip(hands, seeds, strict=True)):
        if style.family != "render":
            noise = noise_fields(pixels.shape[-1], seed).to(pixels.device)
            sheet = Sheet(pixels[row], lines[row], noise, away[row])
            out[row] = FAMILIES[style.family](sheet, style).clamp(0, 1)
    return out


def _closeness(depth: Tensor) -> Tensor:
    """[B, H, W] depths -> [B, H, W] in [0, 1]: 0 at the nearest point of a picture and 1 at infinity."""
    nearest = depth.flatten(1).amin(1)[:, None, None].clamp_min(1e-3)
    return torch.where(torch.isfinite(depth), 1 - nearest / depth, torch.ones_like(depth))
