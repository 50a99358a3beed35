"""Styles of glass, clay, stone, thread and paper."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .artists import Style
from .strokes import (
    Sheet,
    blurred,
    chance,
    dabs,
    displaced,
    drawn_lines,
    gray,
    ink,
    mixed,
    paper,
    positions,
    reach,
    recoloured,
)


def stained_glass(sheet: Sheet, style: Style) -> Tensor:
    """Panes of one colour between leads."""
    count, tall = style.between("stroke", 15, 7), math.exp(0.55 * style.off("angle"))
    down, right = round(count / tall), round(count * tall)
    owner, gap = _panes(sheet.size, down, right, 0.4 - 0.25 * abs(style.off("wobble")), sheet.picture.device)
    index = owner.view(-1)
    cells = torch.zeros(down * right, device=index.device).index_add_(0, index, torch.ones_like(gap).view(-1))
    colours = recoloured(sheet.picture, style, most=0.9)
    means = torch.zeros(3, down * right, device=index.device).index_add_(
        1, index, colours.reshape(3, -1)
    ) / cells.clamp_min(1)
    glass = means.index_select(1, index).view_as(colours)
    panes = mixed(colours, glass, style.between("variant", 0.25, 0.85))
    panes = (panes - 0.5) * style.between("saturation", 1.2, 1.8) + 0.55
    own = chance(owner.float(), torch.full_like(gap, count))
    panes = panes * (1 + 0.9 * style.above("grain") * (own - 0.5))
    lead = torch.maximum((gap < style.between("outline", 0.06, 0.12)).float(), (sheet.lines > 0.75).float())
    return mixed(panes, ink(style, (0.06, 0.06, 0.06), value=0.3).to(panes), lead * style.between("ink", 0.9, 1.0))


def _panes(size: int, down: int, right: int, jitter: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cells around jittered points of a grid: the index of each pixel's cell [H, W], and how much farther the second
    nearest point is than the nearest, in cells [H, W]."""
    y, x = positions(size, device)
    y, x = y * down, x * right
    row, column = torch.floor(y[:, :1]), torch.floor(x[:1])
    nearest, second, owner = torch.full_like(x, 9.0), torch.full_like(x, 9.0), torch.zeros_like(x)
    for below, beside in ((a, b) for a in (-1, 0, 1) for b in (-1, 0, 1)):
        j, i = row + below, column + beside
        v = j + 0.5 + jitter * torch.sin(i * 39.3 + j * 11.1)
        u = i + 0.5 + jitter * torch.sin(i * 12.9 + j * 78.2)
        squared = (y - v).square_().add_((x - u).square_())
        index = j.clamp(0, down - 1) * right + i.clamp(0, right - 1)
        owner = torch.where(squared < nearest, index, owner)
        second = torch.minimum(second, torch.maximum(nearest, squared))
        nearest = torch.minimum(nearest, squared)
    return owner.long(), second.sqrt() - nearest.sqrt()


def clay(sheet: Sheet, style: Style) -> Tensor:
    """Soft dull modelling clay; variants above the middle carry fingerprints."""
    soft = blurred(sheet.picture, style.between("stroke", 0.008, 0.022))
    soft = recoloured(soft, style, most=0.8)
    tone, step = gray(soft), reach(sheet.size, 1 / 128)
    side = 1 if style.off("angle") >= 0 else -1
    relief = (tone - tone.roll((step, side * step), (0, 1))) * style.between("ink", 0.0, 1.6)
    dull = mixed(tone.expand_as(soft), soft, 0.75)
    page = dull * 0.82 + 0.12 + relief + style.between("wobble", 0.0, 0.1) * sheet.noise[0]
    if style.above("variant") > 0:
        prints = torch.sin(sheet.noise[0] * style.between("outline", 18, 40) + 6 * tone)
        page = page + 0.13 * style.above("variant") * prints
    glaze = paper(style, (1.0, 1.0, 1.0), strength=0.35, darkest=0.9).to(page)
    return page * glaze + style.between("grain", 0.0, 0.06) * sheet.noise[1]


def mosaic(sheet: Sheet, style: Style) -> Tensor:
    """Small stones in curving rows, set in grout."""
    colours = recoloured(sheet.picture, style, most=0.6)
    width = style.between("stroke", 0.020, 0.044)
    bend = style.between("wobble", 0.0, 0.06) * sheet.noise[0]
    angle = math.pi * style.off("angle") / 4
    stones = dabs(
        sheet.size,
        colours.device,
        length=width * style.between("variant", 0.9, 1.9),
        width=width,
        angle=angle,
        bend=bend,
    )
    joint = style.between("outline", 0.04, 0.12)
    edge = torch.maximum(stones.along.abs(), stones.across.abs())
    lit = (
        1
        + style.between("grain", 0.1, 0.5) * (stones.chance - 0.5)
        - style.between("ink", 0.0, 0.5) * (stones.across + stones.along)
    )
    grout = paper(style, (0.80, 0.77, 0.72), strength=0.55, darkest=0.25).to(colours)
    return mixed(stones.colours(colours) * lit, grout * (1 + 0.1 * sheet.noise[1]), (edge > 0.5 - joint).float())


def embroidery(sheet: Sheet, style: Style) -> Tensor:
    """Satin stitches on woven cloth, laid one way in the dark areas and another in the light, with a stitched
    outline."""
    colours = recoloured(sheet.picture, style, most=0.65)
    tone = blurred(gray(sheet.picture)[None], 0.02)[0]
    width, angle = style.between("stroke", 0.013, 0.028), math.pi * style.off("angle") / 2
    length = width * style.between("variant", 3.5, 7.0)
    bend = style.between("wobble", 0.0, 0.04) * sheet.noise[0]
    size, device = sheet.size, tone.device
    low = dabs(size, device, length=length, width=width, angle=angle, bend=bend)
    high = dabs(size, device, length=length, width=width, angle=angle + 1.2, bend=-bend)
    stitches = low.covered(high, tone > 0.5)
    round_thread = torch.cos(stitches.across * math.pi) * (0.75 + 0.3 * torch.cos(stitches.along * 5))
    sheen = 0.62 + style.between("contrast", 0.4, 0.75) * round_thread
    sheen = sheen * (1 + style.between("grain", 0.05, 0.3) * (stitches.chance - 0.5))
    bare = (stitches.along.abs() > 0.46) | (stitches.chance > style.between("ink", 0.8, 1.0))
    page = mixed(stitches.colours(colours) * sheen, _cloth(sheet, style), bare.float())
    rope = blurred(drawn_lines(sheet, style, widest=0.008)[None], 0.005)[0] > 0.45
    y, x = positions(sheet.size, tone.device)
    twist = 0.8 + 0.35 * torch.sin((x + y) * 2.6 / width)
    return mixed(page, ink(style, (0.2, 0.12, 0.12)).to(page) * twist, rope.float())


def _cloth(sheet: Sheet, style: Style) -> Tensor:
    """[3, H, W]: a plain weave."""
    y, x = positions(sheet.size, sheet.lines.device)
    weave = torch.sin(x * 190) * torch.sin(y * 190)
    return paper(style, (0.90, 0.87, 0.80), strength=0.7, darkest=0.6).to(weave) * (0.92 + 0.1 * weave)


def paper_cut_out(sheet: Sheet, style: Style) -> Tensor:
    """Flat sheets of coloured paper in layers that cast shadows on those behind."""
    wobble = style.between("wobble", 0.0, 0.02) * sheet.noise[0]
    cut = displaced(torch.cat([sheet.picture, sheet.depth[None]]), wobble, -wobble)
    soft = blurred(cut[:3], style.between("stroke", 0.008, 0.028))
    flat, depth = _flat(recoloured(soft, style, most=0.75), style), cut[3]
    angle = math.pi * style.off("angle")
    high = style.between("outline", 0.016, 0.04)
    shade = torch.zeros_like(depth)
    for share in (0.35, 0.7, 1.0):
        shifts = [torch.full_like(depth, share * high * at) for at in (-abs(math.cos(angle)) - 0.2, math.sin(angle))]
        shade = torch.maximum(
            shade, ((depth - displaced(depth[None], *shifts)[0]) * 14 - 0.3).clamp(0, 1) * (1.2 - 0.5 * share)
        )
    outline = sheet.lines * (1 - shade)
    shade = blurred(torch.stack([shade, outline]), 0.007)
    shade = shade[0] + 0.9 * shade[1]
    fibres = 1 + style.between("grain", 0.01, 0.06) * sheet.noise[1]
    return flat * fibres * (1 - style.between("ink", 0.4, 0.85) * shade.clamp(0, 1))


def _flat(picture: Tensor, style: Style) -> Tensor:
    """[3, H, W] in few paper colours, with a pale cut edge where two meet."""
    bright = picture.amax(0).clamp_min(0.05)
    steps = style.between("variant", 1.9, 3.9)
    value = (bright * 2.6).round() / 2.6
    share = (picture / bright * steps).round() / steps
    colours = (0.12 + 0.86 * value * share ** style.between("saturation", 0.8, 1.6)).clamp(0, 1)
    step = reach(picture.shape[-1], 1 / 128)
    here = gray(colours)
    meets = (here - here.roll((step, step), (0, 1))).abs() > 0.02
    meets[:step] = False  # rolled in from the other side
    meets[:, :step] = False
    return mixed(colours, torch.ones_like(colours), 0.35 * abs(style.off("paper")) * meets.float())
