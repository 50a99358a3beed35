"""Image operations that style families share. Lengths are shares of the picture, so that any size looks alike."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from limner.core.streams import stream

from .artists import Style


@dataclass(frozen=True)
class Sheet:
    """One picture to be painted, and what is known of it."""

    picture: Tensor  # [3, H, W] sRGB in [0, 1]
    lines: Tensor  # [H, W] in [0, 1]: outlines
    noise: Tensor  # [2, H, W] in [-1, 1]: a smooth field and a fine one, the picture's own
    depth: Tensor  # [H, W] in [0, 1]: 0 is the nearest, 1 the farthest

    @property
    def size(self) -> int:
        return self.picture.shape[-1]


@dataclass(frozen=True)
class Dabs:
    """A ground covered with strokes, stitches or tiles: for every pixel, the dab it lies in."""

    down: Tensor  # [H, W] shares of the picture: where the dab takes its colour
    right: Tensor  # [H, W]
    along: Tensor  # [H, W] in [-0.5, 0.5]: where in the dab, along its length
    across: Tensor  # [H, W] in [-0.5, 0.5]: where in the dab, across its width
    chance: Tensor  # [H, W] in [0, 1): a number of the dab's own

    def colours(self, picture: Tensor) -> Tensor:
        """[3, H, W]: the picture's colour where each dab takes it."""
        return _read(picture, self.down, self.right)

    def covered(self, other: Dabs, where: Tensor) -> Dabs:
        """These dabs with the other ones on top, where the mask [H, W] says so."""
        pairs = ((getattr(other, name), getattr(self, name)) for name in self.__dataclass_fields__)
        return Dabs(*(torch.where(where, top, below) for top, below in pairs))


def noise_fields(size: int, seed: int) -> Tensor:
    """[2, size, size] in [-1, 1]: a smooth field and a fine one, the same at any size."""
    coarse = torch.rand(1, 1, 9, 9, generator=stream(seed, "paper"))
    fine = torch.rand(1, 1, 65, 65, generator=stream(seed, "grain"))
    fields = [F.interpolate(field, (size, size), mode="bilinear", align_corners=True)[0, 0] for field in (coarse, fine)]
    return torch.stack(fields) * 2 - 1


def colour_edges(pixels: Tensor) -> Tensor:
    """[B, 3, H, W] -> [B, H, W] in [0, 1]: how strongly the colour changes here."""
    padded = F.pad(pixels, (1, 1, 1, 1), mode="replicate")
    across = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    down = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    return ((across.square() + down.square()).sum(1).sqrt() * 1.6 - 0.25).clamp(0, 1)


def reach(size: int, share: float) -> int:
    """A length in pixels that is this share of the picture, at least one."""
    return max(1, round(size * share))


def blurred(fields: Tensor, share: float) -> Tensor:
    """[C, H, W] -> same: the mean over a square whose half width is this share of the picture."""
    window = _window(fields.shape[-1], round(share * 512) / 512, fields.device)
    return window @ fields @ window.T


@lru_cache(maxsize=256)
def _window(size: int, share: float, device: torch.device) -> Tensor:
    """[size, size]: the matrix that means over a window along one side; beyond the border, the border goes on."""
    half = share * size
    beyond = math.ceil(half) + 1
    at = torch.arange(-beyond, size + beyond)
    weights = (half + 0.5 - (torch.arange(size)[:, None] - at[None]).abs()).clamp(0, 1)
    window = torch.zeros(size, size).index_add_(1, at.clamp(0, size - 1), weights)
    return (window / window.sum(1, keepdim=True)).to(device)


def gray(picture: Tensor) -> Tensor:
    """[3, H, W] -> [H, W]: brightness in [0, 1]."""
    return 0.30 * picture[0] + 0.59 * picture[1] + 0.11 * picture[2]


def stretched(picture: Tensor) -> Tensor:
    """The picture with its darkest tones at 0 and its brightest at 1, so that night can be printed too."""
    tones = F.adaptive_avg_pool2d(gray(picture)[None], 64)[0].flatten()
    low, high = torch.quantile(tones, tones.new_tensor([0.02, 0.98]))
    return ((picture - low) / (high - low).clamp_min(0.1)).clamp(0, 1)


def tones(picture: Tensor, share: float) -> Tensor:
    """[3, H, W] -> [H, W] in [0, 1]: stretched brightness, blurred over that share of the picture."""
    return blurred(gray(stretched(picture))[None], share)[0]


def mixed(first: Tensor, second: Tensor, share: Tensor | float) -> Tensor:
    """The first where `share` is 0 and the second where it is 1."""
    return first + (second - first) * share


def recoloured(picture: Tensor, style: Style, *, most: float, dark: float = 0.22) -> Tensor:
    """The picture in the style's pigments: saturation, contrast, brightness, and a share (up to `most`) of two
    tones."""
    tone = gray(picture)
    first, second = ("hue", "second hue") if style.off("palette") >= 0 else ("second hue", "hue")
    shadow = style.colour(first, 0.65, 0.8, dark).to(picture)
    light = style.colour(second, 0.12, 0.45, 1.0).to(picture)
    coloured = mixed(tone.expand_as(picture), picture, style.between("saturation", 0.45, 1.55))
    coloured = mixed(coloured, mixed(shadow, light, tone), most * abs(style.off("palette")) ** 0.7)
    contrast, brightness = style.between("contrast", 0.7, 1.3), style.between("brightness", -0.1, 0.1)
    return ((coloured - 0.5) * contrast + 0.5 + brightness).clamp(0, 1)


def paper(
    style: Style,
    plain: tuple[float, float, float],
    *,
    strength: float = 0.35,
    darkest: float = 0.82,
    span: float = 1.0,
) -> Tensor:
    """[3, 1, 1]: the ground's colour, which strays from plain by the style's `paper` and `paper hue`.

    strength: saturation of the most coloured paper; darkest: the factor of its value
    span: the range of hues around cream, in turns
    """
    far = abs(style.off("paper"))
    tinted = style.colour("paper hue", 0.12, strength, 1.0 + (darkest - 1.0) * far, span=span)
    return mixed(torch.tensor(plain)[:, None, None], tinted, far)


def ink(style: Style, plain: tuple[float, float, float], *, value: float = 0.5) -> Tensor:
    """[3, 1, 1]: the ink of outlines, plain in the middle and coloured away from it."""
    return mixed(
        torch.tensor(plain)[:, None, None],
        style.colour("ink hue", 0.6, 0.9, value),
        min(1.0, 1.5 * abs(style.off("ink hue"))),
    )


def thickened(lines: Tensor, step: int) -> Tensor:
    """[..., H, W] -> same: lines grown by so many pixels upwards, downwards and to both sides."""
    for _ in range(step):
        wide = lines.clone()
        for near, far in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
            wide[..., near, :] = torch.maximum(wide[..., near, :], lines[..., far, :])
            wide[..., near] = torch.maximum(wide[..., near], lines[..., far])
        lines = wide
    return lines


def drawn_lines(sheet: Sheet, style: Style, *, widest: float = 0.007) -> Tensor:
    """[H, W] in [0, 1]: outlines in the style's width and with its unsteady hand."""
    lines, width = sheet.lines, style.off("outline")
    if abs(style.off("wobble")) > 0.1:
        shift = style.off("wobble") * 0.012 * sheet.noise[0]
        lines = displaced(lines[None], shift, -shift.flip(0))[0]
    if width > 0:
        return mixed(lines, thickened(lines, reach(sheet.size, widest)), width)
    return lines * (1 + 0.6 * width * (1 - lines))


@lru_cache(maxsize=16)
def positions(size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """y and x [size, size] of the middles of pixels, in [0, 1]."""
    steps = (torch.arange(size, device=device) + 0.5) / size
    return steps[:, None].expand(size, size).contiguous(), steps[None].expand(size, size).contiguous()


def displaced(fields: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """[C, H, W] -> same: every pixel is read so far below and to the right of itself (shares of the picture)."""
    y, x = positions(fields.shape[-1], fields.device)
    return _read(fields, y + down, x + right)


def _read(fields: Tensor, y: Tensor, x: Tensor) -> Tensor:
    size = fields.shape[-1]
    row, column = (torch.floor(at * size).clamp(0, size - 1) for at in (y, x))
    return fields.flatten(1).index_select(1, (row * size + column).long().flatten()).view(len(fields), *y.shape)


def fraction(field: Tensor) -> Tensor:
    """The field less the whole number below it, in [0, 1)."""
    return field - torch.floor(field)


def chance(first: Tensor, second: Tensor) -> Tensor:
    """Whole numbers, as floats -> numbers in [0, 1) without order, the same on every device."""
    place = (64 * fraction(first / 64) * 64 + 64 * fraction(second / 64)).long()
    return _chances(first.device).index_select(0, place.flatten()).view(first.shape)


@lru_cache(maxsize=4)
def _chances(device: torch.device) -> Tensor:
    return torch.rand(64 * 64, generator=stream(0, "chances")).to(device)


def stripes(size: int, device: torch.device, angle: float, count: float, bend: Tensor | float = 0.0) -> Tensor:
    """[H, W] in [-1, 1]: parallel ridges, `count` over the picture, whose phase `bend` shifts (in ridges)."""
    y, x = positions(size, device)
    phase = (math.cos(angle) * y + math.sin(angle) * x) * count + bend
    return (fraction(phase) - 0.5).abs_() * 4 - 1


def dabs(
    size: int,
    device: torch.device,
    *,
    length: float,
    width: float,
    angle: float,
    bend: Tensor | float = 0.0,
    loose: float = 0.3,
    brick: float = 1.0,
) -> Dabs:
    """Cover a picture of that size with dabs of that length and width (shares of the picture) at an angle in radians.

    bend: [H, W] shift of the rows, in shares of the picture, which makes them curve
    loose: how far a dab takes its colour from off its middle, in its own lengths
    brick: how far rows are shifted against each other, in dabs
    """
    y, x = positions(size, device)
    cos, sin = math.cos(angle), math.sin(angle)
    v = (-sin * x + cos * y + bend) / width + 64.0
    row = torch.floor(v)
    u = (cos * x + sin * y) / length + 64.0 + brick * chance(row, torch.zeros_like(row))
    column = torch.floor(u)
    own = chance(row, column)
    across, along = v - row - 0.5, u - column - 0.5
    step_u, step_v = (along + loose * (own - 0.5)) * length, across * width
    return Dabs(y - sin * step_u - cos * step_v, x - cos * step_u + sin * step_v, along, across, own)
