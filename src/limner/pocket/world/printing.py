"""Styles of the press, the screen and the drawing office."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .artists import Style
from .strokes import (
    Sheet,
    blurred,
    displaced,
    drawn_lines,
    fraction,
    gray,
    ink,
    mixed,
    paper,
    positions,
    reach,
    recoloured,
    stretched,
    stripes,
    tones,
)


def pixel_art(sheet: Sheet, style: Style) -> Tensor:
    """Few cells, few colours; variants above the middle dither."""
    count = round(style.between("stroke", 34, 14))
    cells = F.adaptive_avg_pool2d(sheet.picture, count)
    cells = recoloured(cells, style, most=0.85)
    steps = 5 - 2.6 * abs(style.off("wobble"))
    at = torch.arange(count, device=cells.device)
    weave = ((at[:, None] + at[None]) % 2).float() - 0.5
    cells = ((cells + 0.55 / steps * style.above("variant") * weave) * steps).round() / steps
    if style.above("ink") > 0:
        borders = F.adaptive_max_pool2d(sheet.lines[None], count)
        cells = mixed(cells, ink(style, (0.05, 0.05, 0.1), value=0.35).to(cells), 0.9 * style.above("ink") * borders)
    large = F.interpolate(cells[None], (sheet.size, sheet.size), mode="nearest")[0]
    if style.above("outline") > 0.2:
        y, x = positions(sheet.size, large.device)
        gaps = torch.minimum(fraction(x * count), fraction(y * count)) < 0.2
        large = large * (1 - 0.45 * style.above("outline") * gaps.float())
    return large


def pop_art(sheet: Sheet, style: Style) -> Tensor:
    """Flat loud colours under a screen of dots, in heavy outlines."""
    picture, tone = sheet.picture, gray(sheet.picture)
    loud = (picture - tone) * style.between("saturation", 1.2, 3.6) + tone
    loud = mixed(loud.clamp(0, 1), _loud_tones(tone, style), min(1.0, 1.3 * abs(style.off("palette"))))
    steps = style.between("contrast", 1.6, 3.2)
    flat = ((loud * steps).round() / steps).clamp(0, 1)
    y, x = positions(sheet.size, picture.device)
    angle, count = style.off("angle") * math.pi / 4, style.between("stroke", 30, 12)
    u = (math.cos(angle) * x + math.sin(angle) * y) * count
    v = (math.cos(angle) * y - math.sin(angle) * x) * count
    radius = style.between("grain", 0.30, 0.54) * (1 - tone).clamp_min(0).sqrt()
    dots = ((fraction(u) - 0.5).square() + (fraction(v) - 0.5).square()).sqrt() < radius
    share = style.between("brightness", 0.08, 0.36)
    ground = paper(style, (1.0, 1.0, 1.0), strength=0.6, darkest=1.0).to(picture)
    page = torch.where(dots, flat * (1 - share), flat * (1 - share) + share * ground)
    lines = (drawn_lines(sheet, style, widest=0.009) * style.between("ink", 0.8, 1.0)).clamp(0, 1)
    return mixed(page, ink(style, (0.0, 0.0, 0.0), value=0.4).to(page), lines)


def _loud_tones(tone: Tensor, style: Style) -> Tensor:
    """[3, H, W]: shadows, middle and lights in three loud colours of the style."""
    shadow = style.colour("hue", 0.75, 0.9, 0.5).to(tone)
    middle = style.colour("second hue", 0.95, 0.85, 0.95).to(tone)
    light = style.colour("hue", 0.15, 0.6, 1.0).to(tone)
    return torch.where(tone < 0.36, shadow, torch.where(tone < 0.62, middle, light))


def risograph(sheet: Sheet, style: Style) -> Tensor:
    """Two inks through a screen, a little out of register."""
    picture = stretched(sheet.picture)
    tone = gray(picture)
    warm = (picture[0] - picture[2]) * 0.5 + 0.5
    ground = paper(style, (0.96, 0.94, 0.88), strength=0.4, darkest=0.92).to(picture)
    first_ink = style.colour("hue", 0.984, 0.633, 0.98).to(picture)
    second_ink = style.colour("second hue", 0.604, style.between("saturation", 0.55, 1.0), 0.62).to(picture)
    y, x = positions(sheet.size, picture.device)
    angle = math.pi / 4 + style.off("angle") * math.pi / 4
    wave = math.pi * math.sqrt(2) * style.between("stroke", 44, 20)
    u, v = math.cos(angle) * x + math.sin(angle) * y, math.cos(angle) * y - math.sin(angle) * x
    screen = torch.sin(u * wave) * torch.sin(v * wave) * style.between("variant", 0.08, 0.36)
    grain = style.between("grain", 0.0, 0.3) * sheet.noise[1]
    level = style.off("brightness") * 0.1
    first = ((warm * (1.1 - tone) * 1.4 + screen + grain) > 0.45 + level).float()
    second = (((1 - tone) + screen + 0.67 * grain) > 0.58 + level).float()
    second = second.roll((reach(sheet.size, 0.01) + round(0.015 * sheet.size * style.off("wobble"))), -1)
    return ground * (1 - first * (1 - first_ink)) * (1 - second * (1 - second_ink))


def woodcut(sheet: Sheet, style: Style) -> Tensor:
    """Ink left between carved lines that follow the light; variants above the middle print a colour block below."""
    tone = tones(sheet.picture, 0.008)
    ground = paper(style, (0.94, 0.90, 0.80), strength=0.4, darkest=0.85).to(tone)
    angle = math.pi * style.off("angle") / 2 + 0.3
    bend = style.between("wobble", 0.6, 2.5) * (tone * 2 + 0.6 * sheet.noise[0])
    ridges = stripes(sheet.size, tone.device, angle, style.between("stroke", 44, 17), bend)
    carved = (
        tone + style.between("contrast", 0.3, 0.55) * ridges + 0.1 * style.between("grain", 0.0, 2.0) * sheet.noise[1]
    )
    level = style.between("brightness", 0.68, 0.42)
    left = ((level - carved) * 12 + 0.5).clamp(0, 1)
    lines = (drawn_lines(sheet, style, widest=0.009) * style.between("ink", 1.0, 1.6)).clamp(0, 1)
    page = ground.expand_as(sheet.picture)
    if style.above("variant") > 0:
        block = style.colour("second hue", 0.08, style.between("saturation", 0.4, 0.95), 0.92).to(tone)
        shifted = displaced(tone[None], torch.full_like(tone, 0.008), torch.full_like(tone, -0.008))[0]
        page = mixed(page, block, ((0.78 - shifted) * 20).clamp(0, 1) * min(1.0, 3 * style.above("variant")))
    pressed = ink(style, (0.08, 0.07, 0.07), value=0.34).to(tone)
    return mixed(page, pressed, torch.maximum(left, lines) * (0.97 + 0.03 * sheet.noise[1]))


def blueprint(sheet: Sheet, style: Style) -> Tensor:
    """Pale lines and a grid on a deep ground, framed in variants above the middle."""
    ground = style.colour(
        "hue", 0.60, style.between("saturation", 0.6, 1.0), style.between("brightness", 0.3, 0.72), span=0.22
    )
    ground, pen = ground.to(sheet.picture), paper(style, (0.93, 0.96, 1.0), strength=0.5, darkest=1.0).to(sheet.picture)
    y, x = positions(sheet.size, ground.device)
    count = round(style.between("stroke", 20, 6))
    thin = 1.3 / sheet.size * count
    near = torch.minimum(fraction(x * count), fraction(y * count)) < thin
    grid = style.between("grain", 0.08, 0.4) * near.float()
    tone = tones(sheet.picture, 0.01)
    ridges = stripes(sheet.size, ground.device, math.pi * style.off("angle"), style.between("stroke", 60, 30))
    fill = (
        style.between("contrast", 0.0, 0.5)
        * (tone - 0.35).clamp_min(0)
        * mixed(torch.ones_like(tone), (ridges > 0).float(), abs(style.off("palette")))
    )
    lines = (drawn_lines(sheet, style, widest=0.008) * style.between("ink", 1.2, 2.2)).clamp(0, 1)
    inside = torch.minimum(torch.minimum(x, 1 - x), torch.minimum(y, 1 - y))
    frame = ((inside - 0.05).abs() < 0.007).float() * min(1.0, 4 * style.above("variant"))
    drawing = torch.maximum(torch.maximum(lines, frame), fill + grid)
    faded = ground * (1 + 0.12 * sheet.noise[0] + 0.06 * sheet.noise[1])
    return mixed(faded, pen, drawing)


def neon(sheet: Sheet, style: Style) -> Tensor:
    """Glowing tubes along the outlines of a dark room, in two colours."""
    lines = (drawn_lines(sheet, style, widest=0.005) * 1.8 - 0.2).clamp(0, 1)
    y, x = positions(sheet.size, lines.device)
    angle = math.pi * style.off("angle")
    place = 0.5 + (math.cos(angle) * (x - 0.5) + math.sin(angle) * (y - 0.5)) * 1.3
    tone = gray(sheet.picture)
    where = mixed(place, ((tone - 0.45) * 4 + 0.5), 0.5 + 0.5 * style.off("variant")).clamp(0, 1)
    saturation = style.between("saturation", 0.75, 1.0)
    first, second = (
        style.colour("hue", 0.9, saturation, 1.0).to(tone),
        style.colour("second hue", 0.5, saturation, 1.0).to(tone),
    )
    tubes = mixed(first, second, where) * lines
    near = blurred(tubes, style.between("stroke", 0.008, 0.024))
    far = blurred(blurred(near, style.between("stroke", 0.03, 0.10)), 0.03)
    room = style.colour("paper hue", 0.7, 0.7, style.between("brightness", 0.04, 0.24)).to(tone) * (0.4 + 1.2 * tone)
    glow = style.between("ink", 0.7, 1.5)
    return room + glow * near + 1.3 * glow * far + tubes * 0.5 + 0.75 * lines**3 * style.between("contrast", 0.2, 1.0)
