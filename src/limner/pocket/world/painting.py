"""Styles of brush, chalk and pen."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .artists import Style
from .strokes import (
    Sheet,
    blurred,
    dabs,
    displaced,
    drawn_lines,
    gray,
    ink,
    mixed,
    paper,
    positions,
    recoloured,
    stripes,
    tones,
)


def watercolour(sheet: Sheet, style: Style) -> Tensor:
    """Soft washes on paper; variants above the middle leave an unpainted border."""
    soft = blurred(blurred(sheet.picture, style.between("stroke", 0.006, 0.034)), 0.012)
    ground = paper(style, (1.0, 1.0, 1.0), strength=0.26, darkest=0.93).to(soft)
    blooms = style.between("wobble", 0.0, 0.16)
    thin = style.between("brightness", 0.04, 0.52)
    wash = thin + (1.02 - thin) * recoloured(soft, style, most=1.0, dark=0.15) + blooms * sheet.noise[0]
    first, second = (style.colour(name, 0.6, 0.7, 0.9).to(soft) for name in ("hue", "second hue"))
    bled = torch.where(sheet.noise[0] > 0, first, second)
    wash = mixed(wash, bled, 0.6 * style.above("wobble") * sheet.noise[0].abs())
    rim = (0.22 + 0.5 * style.above("ink") - 0.22 * style.below("ink")) * mixed(
        blurred(drawn_lines(sheet, style)[None], 0.008)[0], sheet.lines, style.above("outline")
    )
    wash = wash * (1 - rim * (1 - ink(style, (0.0, 0.0, 0.0)).to(soft)))
    wash = mixed(wash, torch.ones_like(wash), _border(sheet, 0.13 * style.above("variant")))
    return wash * ground + (0.035 * (1 + style.off("grain")) + 0.07 * style.above("grain")) * sheet.noise[1]


def oil_painting(sheet: Sheet, style: Style) -> Tensor:
    """Thick strokes over an underpainting, fine ones where there is detail."""
    colours = recoloured(sheet.picture, style, most=0.6)
    width = style.between("stroke", 0.016, 0.05)
    angle, bend = math.pi * style.off("angle"), style.between("wobble", 0.0, 0.06) * sheet.noise[0]
    length = width * style.between("variant", 2.0, 5.0)
    device = colours.device
    broad = dabs(sheet.size, device, length=length, width=width, angle=angle, bend=bend)
    fine = dabs(sheet.size, device, length=length * 0.5, width=width * 0.55, angle=angle + 0.9, bend=bend)
    detail = (blurred(sheet.lines[None], 0.015)[0] * 2.5 + 0.5 * fine.chance) > 0.42
    strokes = broad.covered(fine, detail)
    bristles = torch.sin(strokes.across * 25 + 9 * strokes.chance)
    relief = style.between("ink", 0.05, 0.35) * (strokes.across + 0.22 * bristles)
    return strokes.colours(colours) * (1 - relief + style.between("grain", 0.05, 0.4) * (strokes.chance - 0.5))


def charcoal(sheet: Sheet, style: Style) -> Tensor:
    """One chalk on paper; variants above the middle are hatched, below it smudged along the strokes."""
    smudge = style.between("stroke", 0.004, 0.012) + 0.02 * style.below("variant")
    tone = tones(sheet.picture, smudge)
    tone = (tone - 0.5) * style.between("contrast", 0.8, 1.8) + style.between("brightness", 0.54, 0.70)
    tone = tone + style.between("grain", 0.0, 0.26) * sheet.noise[1] * (1.1 - tone)
    if style.above("variant") > 0:
        ridges = stripes(sheet.size, tone.device, math.pi * style.off("angle"), style.between("stroke", 55, 25))
        tone = tone + 0.55 * style.above("variant") * ridges * (1.05 - tone).clamp(0, 1)
    rubbed = blurred(drawn_lines(sheet, style)[None], 0.008)[0]
    tone = (tone - style.between("ink", 0.25, 0.85) * rubbed).clamp_min(0)
    ground = paper(style, (0.97, 0.95, 0.92), strength=0.32, darkest=0.8).to(tone)
    chalk = style.colour("hue", 0.04, 0.75, 0.42, span=0.3).to(tone) * min(1.0, 1.4 * abs(style.off("palette")))
    lights = (tone - 0.8).clamp_min(0) * 4 * abs(style.off("paper"))
    return mixed(mixed(chalk, ground, tone), torch.ones_like(ground), lights)


def line_drawing(sheet: Sheet, style: Style) -> Tensor:
    """Ink lines on paper; variants above the middle hatch the shadows, below it tint the areas."""
    lines = (drawn_lines(sheet, style, widest=0.009) * style.between("contrast", 1.2, 2.6)).clamp(0, 1)
    lines = lines * (1 - 0.35 * style.below("ink"))
    ground = paper(style, (0.97, 0.97, 0.97), strength=0.36, darkest=0.82).to(lines)
    page = ground.expand_as(sheet.picture) * (1 + 0.08 * style.above("grain") * sheet.noise[1])
    if style.above("variant") > 0:
        tone = tones(sheet.picture, 0.008)
        ridges = stripes(
            sheet.size, tone.device, math.pi * style.off("angle"), style.between("stroke", 44, 18), 0.8 * tone
        )
        hatching = ((0.62 * style.above("variant") ** 0.5 - tone) * 3 + ridges - 0.3).clamp(0, 1)
        lines = torch.maximum(lines, 0.85 * hatching)
    elif style.below("variant") > 0:
        tint = recoloured(blurred(sheet.picture, 0.012), style, most=0.8)
        page = page * mixed(torch.ones_like(tint), 0.35 + 0.65 * tint, style.below("variant"))
    return mixed(page, ink(style, (0.05, 0.05, 0.05), value=0.55).to(lines), lines)


def pointillism(sheet: Sheet, style: Style) -> Tensor:
    """Dots of unmixed colours in three layers on a ground."""
    colours = recoloured(sheet.picture, style, most=0.55)
    ground = paper(style, (0.95, 0.93, 0.86), strength=0.5, darkest=0.6).to(colours)
    width = style.between("stroke", 0.017, 0.045)
    size, device, radius = sheet.size, colours.device, style.between("variant", 0.40, 0.62)
    page, bare = None, torch.ones_like(sheet.lines, dtype=torch.bool)
    for turn in (0.2, 1.1, 2.3):
        dots = dabs(size, device, length=width, width=width, angle=turn + style.off("angle"))
        off = dots.chance * style.between("wobble", 0.0, 0.15)
        inside = (dots.along + off).square() + dots.across.square() < (radius - 0.2 * dots.chance).square()
        page = dots if page is None else page.covered(dots, inside)
        bare = bare & ~inside
    assert page is not None
    phase = page.chance[None] * 6.283 + page.chance.new_tensor([0.0, 2.1, 4.2])[:, None, None]
    pure = page.colours(colours) + style.between("grain", 0.08, 0.33) * torch.sin(phase)
    pure = pure * (1 - style.between("ink", -0.25, 0.3) * sheet.lines)
    return mixed(pure, ground, bare.float())


def crayon(sheet: Sheet, style: Style) -> Tensor:
    """Wax on rough paper: strokes that the grain breaks, and thick coloured outlines."""
    colours = recoloured(blurred(sheet.picture, 0.012), style, most=0.65)
    vivid = mixed(gray(colours).expand_as(colours), colours, 1.5).clamp(0, 1) * 0.92
    ground = paper(style, (0.98, 0.97, 0.94), strength=0.4, darkest=0.85).to(vivid)
    angle = math.pi * style.off("angle") + 0.7
    bend = style.between("wobble", 0.01, 0.06) * sheet.noise[0]
    width = style.between("stroke", 0.014, 0.04)
    strokes = dabs(
        sheet.size,
        vivid.device,
        length=style.between("variant", 5.0, 14.0) * width,
        width=width,
        angle=angle,
        bend=bend,
    )
    pressure = style.between("contrast", 0.45, 1.0) - 0.35 * (gray(vivid) - 0.5)
    pressed = pressure + 1.1 * (0.25 - strokes.across.abs()) + 0.7 * (strokes.chance - 0.5)
    wax = (pressed + style.between("grain", 0.3, 1.0) * sheet.noise[1]).clamp(0, 1)
    page = mixed(ground, vivid, wax)
    lines = blurred(drawn_lines(sheet, style, widest=0.01)[None], 0.007)[0] * (1 + sheet.noise[1]) * 1.3
    return mixed(page, ink(style, (0.15, 0.12, 0.12)).to(page), (lines * style.between("ink", 0.3, 1.1)).clamp(0, 1))


def ink_wash(sheet: Sheet, style: Style) -> Tensor:
    """Diluted ink that bleeds into rice paper and fades with distance, signed with a red seal."""
    bleed = style.between("wobble", 0.004, 0.03) * (sheet.noise[0] + 0.5 * sheet.noise[1])
    tone = tones(sheet.picture, style.between("stroke", 0.006, 0.03))
    tone = displaced(tone[None], bleed, -bleed)[0]
    steps = style.between("contrast", 4.5, 2.2)
    washes = mixed(torch.round((tone + 0.06 * sheet.noise[0]) * steps) / steps, tone, 0.35)
    washes = blurred(washes[None], 0.008)[0]
    fade = style.between("brightness", 0.4, 0.95) * sheet.depth.square()
    dark = (1 - washes.clamp(0, 1)) ** 0.9 * (1 - fade) * style.between("palette", 0.9, 1.25)
    brush = blurred(drawn_lines(sheet, style, widest=0.012)[None], 0.006)[0] * (0.75 + 0.8 * sheet.noise[0])
    dark = torch.maximum(dark, (brush * style.between("ink", 0.8, 1.8) * (1 - 0.6 * sheet.depth.square())).clamp(0, 1))
    dark = dark * (1 - _border(sheet, style.between("grain", 0.03, 0.14)))
    ground = paper(style, (0.95, 0.93, 0.88), strength=0.5, darkest=0.8, span=0.3).to(dark)
    pigment = style.colour("hue", 0.6, style.between("saturation", 0.1, 1.0), 0.32).to(dark)
    page = mixed(ground * (1 + 0.03 * sheet.noise[1]), pigment, dark)
    return mixed(page, page.new_tensor([0.78, 0.14, 0.10])[:, None, None], _seal(sheet, style))


def _border(sheet: Sheet, share: float) -> Tensor:
    """[H, W] in [0, 1]: 1 where a ragged border of that width stays unpainted."""
    if share <= 0:
        return torch.zeros_like(sheet.lines)
    y, x = positions(sheet.size, sheet.lines.device)
    inside = torch.minimum(torch.minimum(x, 1 - x), torch.minimum(y, 1 - y))
    return ((share * (1 + 0.6 * sheet.noise[0] + 0.25 * sheet.noise[1]) - inside) * 40 + 0.5).clamp(0, 1)


def _seal(sheet: Sheet, style: Style) -> Tensor:
    """[H, W] of 0 and 1: a small square stamp near a corner of the style's choice."""
    y, x = positions(sheet.size, sheet.lines.device)
    half = style.between("outline", 0.022, 0.045)
    across = 0.12 if style.off("angle") < 0 else 0.88
    down = 0.14 if style.off("variant") < 0 else 0.86
    u, v = (x - across).abs() / half, (y - down).abs() / half
    return ((torch.maximum(u, v) < 1) & ~((u < 0.25) & (v < 0.65)) & ~((v - 0.3).abs() < 0.12)).float()
