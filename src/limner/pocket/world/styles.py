"""Painting styles: operations on rendered pictures, seeded by nothing but the picture's own place in the batch's seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from limner.streams import stream


def stylise(pixels: Tensor, styles: Sequence[str], seeds: Sequence[int], edges: Tensor | None = None) -> Tensor:
    """[B, 3, H, W] in [0, 1] -> same, each picture in its style. `edges` [B, H, W] are outlines the renderer knows."""
    out = pixels.clone()
    lines = _outlines(pixels) if edges is None else torch.maximum(edges, 0.7 * _outlines(pixels))
    for row, (style, seed) in enumerate(zip(styles, seeds, strict=True)):
        if style != "render":
            noise = _noise(pixels.shape[-1], seed).to(pixels.device)
            out[row] = _STYLES[style](pixels[row], lines[row], noise).clamp(0, 1)
    return out


def _noise(size: int, seed: int) -> Tensor:
    """[2, H, W] in [-1, 1]: a smooth field and a fine one, the same picture at any size."""
    coarse = torch.rand(1, 1, 9, 9, generator=stream(seed, "paper"))
    fine = torch.rand(1, 1, 65, 65, generator=stream(seed, "grain"))
    fields = [F.interpolate(field, (size, size), mode="bilinear", align_corners=True)[0, 0] for field in (coarse, fine)]
    return torch.stack(fields) * 2 - 1


def _outlines(pixels: Tensor) -> Tensor:
    """[B, 3, H, W] -> [B, H, W] in [0, 1]: how strongly the colour changes here."""
    padded = F.pad(pixels, (1, 1, 1, 1), mode="replicate")
    across = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    down = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    return ((across.square() + down.square()).sum(1).sqrt() * 1.6 - 0.25).clamp(0, 1)


def _blurred(picture: Tensor, radius: int) -> Tensor:
    kernel = 2 * radius + 1
    padded = F.pad(picture[None], (radius,) * 4, mode="replicate")
    return F.avg_pool2d(padded, kernel, 1)[0]


def _gray(picture: Tensor) -> Tensor:
    return (picture * picture.new_tensor([0.30, 0.59, 0.11])[:, None, None]).sum(0)


def _stretched(picture: Tensor) -> Tensor:
    """The picture with its darkest tones at 0 and its brightest at 1, so that night can be printed too."""
    low, high = torch.quantile(_gray(picture).flatten(), picture.new_tensor([0.02, 0.98]))
    return ((picture - low) / (high - low).clamp_min(0.1)).clamp(0, 1)


def _reach(picture: Tensor, share: float) -> int:
    """A length in pixels that is this share of the picture."""
    return max(1, round(picture.shape[-1] * share))


def _watercolour(picture: Tensor, lines: Tensor, noise: Tensor) -> Tensor:
    soft = _blurred(_blurred(picture, _reach(picture, 0.02)), _reach(picture, 0.012))
    wash = 0.28 + 0.74 * soft + 0.08 * noise[0]
    rim = _blurred(lines[None], 1)[0]
    return wash * (1 - 0.22 * rim) + 0.035 * noise[1]


def _line_drawing(picture: Tensor, lines: Tensor, noise: Tensor) -> Tensor:
    ink = (lines * 1.9).clamp(0, 1)
    return (0.97 - 0.92 * ink).expand_as(picture)


def _pixel_art(picture: Tensor, lines: Tensor, noise: Tensor) -> Tensor:
    size = picture.shape[-1]
    small = F.interpolate(picture[None], (24, 24), mode="area")
    levels = (small * 5).round() / 5
    return F.interpolate(levels, (size, size), mode="nearest")[0]


def _pop_art(picture: Tensor, lines: Tensor, noise: Tensor) -> Tensor:
    gray, size = _gray(picture), picture.shape[-1]
    vivid = ((picture - gray) * 2.4 + gray).clamp(0, 1)
    flat = (vivid * 2.4).round() / 2.4
    at = torch.arange(size, device=picture.device) * (21 / size)
    dots = ((at[:, None] % 1 - 0.5) ** 2 + (at[None] % 1 - 0.5) ** 2).sqrt() < 0.42 * (1 - gray).sqrt()
    return torch.where(dots, flat * 0.78, flat * 0.78 + 0.22) * (1 - 0.9 * lines)


def _charcoal(picture: Tensor, lines: Tensor, noise: Tensor) -> Tensor:
    tone = (_gray(_blurred(_stretched(picture), 1)) - 0.5) * 1.3 + 0.62
    tone = tone + 0.13 * noise[1] * (1.1 - tone) - 0.55 * _blurred(lines[None], 1)[0]
    return tone.expand_as(picture) * picture.new_tensor([0.97, 0.95, 0.92])[:, None, None]


def _stained_glass(picture: Tensor, lines: Tensor, noise: Tensor) -> Tensor:
    size = picture.shape[-1]
    y, x = torch.meshgrid(*[torch.arange(size, device=picture.device) / size * 11] * 2, indexing="ij")
    cell_x, cell_y = torch.floor(x), torch.floor(y)
    best, second, owner = (torch.full_like(x, 9.0) for _ in range(3))
    for dx in (-1, 0, 1):
        for dy in (-1, 0, 1):
            i, j = cell_x + dx, cell_y + dy
            u, v = i + 0.5 + 0.4 * torch.sin(i * 12.9 + j * 78.2), j + 0.5 + 0.4 * torch.sin(i * 39.3 + j * 11.1)
            distance = ((x - u) ** 2 + (y - v) ** 2).sqrt()
            closer = distance < best
            second = torch.where(closer, best, torch.minimum(second, distance))
            owner = torch.where(closer, (j.clamp(0, 10) * 11 + i.clamp(0, 10)), owner)
            best = torch.where(closer, distance, best)
    index = owner.long().view(-1)
    count = torch.bincount(index, minlength=121).clamp_min(1)
    means = torch.zeros(3, 121, device=picture.device).index_add_(1, index, picture.reshape(3, -1)) / count
    glass = means[:, index].view_as(picture)
    mixed = ((0.55 * glass + 0.45 * picture) - 0.5) * 1.5 + 0.55
    lead = torch.maximum((second - best < 0.09).float(), (lines > 0.75).float())
    return mixed * (1 - lead) + 0.06 * lead


def _risograph(picture: Tensor, lines: Tensor, noise: Tensor) -> Tensor:
    picture = _stretched(picture)
    gray, size = _gray(picture), picture.shape[-1]
    red = (picture[0] - picture[2]) * 0.5 + 0.5
    paper, pink, blue = (
        picture.new_tensor(c)[:, None, None] for c in ((0.96, 0.94, 0.88), (0.98, 0.36, 0.42), (0.14, 0.32, 0.62))
    )
    at = torch.arange(size, device=picture.device) * (32 / size)
    screen = (torch.sin((at[:, None] + at[None]) * 3.14) * torch.sin((at[:, None] - at[None]) * 3.14)) * 0.22
    first = ((red * (1.1 - gray) * 1.4 + screen + 0.15 * noise[1]) > 0.45).float()
    second = (((1 - gray) + screen + 0.1 * noise[1]) > 0.58).float().roll(_reach(picture, 0.01), -1)
    return paper * (1 - first * (1 - pink)) * (1 - second * (1 - blue))


def _clay(picture: Tensor, lines: Tensor, noise: Tensor) -> Tensor:
    soft = _blurred(picture, _reach(picture, 0.015))
    gray = _gray(soft)
    relief = (gray - gray.roll((1, 1), (0, 1))) * 0.8
    dull = (soft - gray) * 0.75 + gray
    return dull * 0.82 + 0.12 + relief + 0.05 * noise[0] + 0.03 * noise[1]


_STYLES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "watercolour": _watercolour,
    "line drawing": _line_drawing,
    "pixel art": _pixel_art,
    "pop art": _pop_art,
    "charcoal": _charcoal,
    "stained glass": _stained_glass,
    "risograph": _risograph,
    "clay": _clay,
}
