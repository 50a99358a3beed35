"""Styles are individuals, independent of the pictures painted in them."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from limner.pocket.world import draw, individual, showing
from limner.pocket.world.artists import STYLE_CODE
from limner.pocket.world.strokes import thickened
from limner.pocket.world.styles import FAMILIES, NUM_STYLE, Style, style_of, stylise
from limner.pocket.world.vocabulary import STYLES

SIZE = 64
OLD_LOOKS = {
    "watercolour": (0.702, 0.735, 0.663, 0.162, 0.162, 0.199),
    "line drawing": (0.823, 0.823, 0.823, 0.301, 0.301, 0.301),
    "pixel art": (0.595, 0.646, 0.545, 0.233, 0.225, 0.296),
    "pop art": (0.531, 0.608, 0.461, 0.274, 0.277, 0.32),
    "charcoal": (0.614, 0.606, 0.593, 0.314, 0.313, 0.311),
    "stained glass": (0.53, 0.581, 0.461, 0.354, 0.366, 0.376),
    "risograph": (0.693, 0.604, 0.629, 0.384, 0.364, 0.28),
    "clay": (0.61, 0.637, 0.577, 0.177, 0.179, 0.206),
}  # fmt: skip
"""Family -> mean and standard deviation of the three channels over CONTENTS, before families had individuals."""


@lru_cache(maxsize=3)
def contents(size: int = SIZE) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels, outlines and depth of a dog, a car and a teapot, each in another scene."""
    graphs = [
        showing(individual(kind, seed), seed=seed, scene=scene, style="render")
        for kind, seed, scene in (("dog", 5, "meadow"), ("car", 3, "snow"), ("teapot", 4, "kitchen"))
    ]
    drawn = draw(graphs, size=size)
    part = (drawn.toy.float() * 64 + drawn.part)[:, None]
    padded = F.pad(part, (0, 1, 0, 1), mode="replicate")
    edges = ((padded[:, :, :-1, 1:] != part) | (padded[:, :, 1:, :-1] != part)).float()[:, 0]
    return drawn.pixels.float() / 255, edges, drawn.depth


def painted(styles: list[Style], *, content: int = 0, seeds: list[int] | None = None) -> Tensor:
    """[B, 3, SIZE, SIZE]: one content in several styles."""
    count = len(styles)
    fields = [field[content : content + 1].expand(count, *field.shape[1:]) for field in contents()]
    return stylise(fields[0], styles, seeds or [11] * count, fields[1], fields[2])


def look(pictures: Tensor) -> Tensor:
    """[B, 3, H, W] -> [B, 11]: means and deviations of opponent colours, edge density, energy of three octaves. A look
    says nothing of where in the picture anything is."""
    red, green, blue = pictures.unbind(1)
    opponent = torch.stack([(red + green + blue) / 3, red - green, (red + green) / 2 - blue], 1)
    edges = (opponent[:, 0].diff(dim=1).abs().mean((1, 2)) + opponent[:, 0].diff(dim=2).abs().mean((1, 2))) / 2
    octaves = [F.avg_pool2d(opponent[:, :1], 2**k) for k in range(4)]
    bands = [(fine - F.interpolate(coarse, scale_factor=2.0)).std((1, 2, 3)) for fine, coarse in pairwise(octaves)]
    return torch.cat([opponent.mean((2, 3)), opponent.std((2, 3)), torch.stack([edges * 3, *bands], 1)], 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_individuals_differ_more_than_papers_do(family: str) -> None:
    individuals = [style_of(family, seed) for seed in range(8)]
    looks = look(painted(individuals))
    between = torch.pdist(looks)
    papers = torch.stack([torch.pdist(look(painted([one] * 3, seeds=[1, 2, 3]))).max() for one in individuals])
    assert between.median() > 4 * papers.median()
    assert between.min() > papers.median()
    assert between.median() > 0.12


@pytest.mark.parametrize("family", FAMILIES)
def test_an_individual_is_itself_on_other_contents(family: str) -> None:
    """Looks of a style on two contents are nearer, over the mean of all styles on each, than those of two styles."""
    individuals = [style_of(family, seed) for seed in range(8)]
    first, second = (look(painted(individuals, content=content)) for content in (0, 1))
    first, second = first - first.mean(0), second - second.mean(0)
    distances = torch.cdist(first, second)
    same = distances.diagonal().mean()
    other = distances.sum() - distances.diagonal().sum()
    assert same < 0.75 * other / (8 * 7)


def test_no_family_looks_like_another() -> None:
    looks = {family: look(painted([style_of(family, seed) for seed in range(4)])).mean(0) for family in FAMILIES}
    assert len(looks) == 18
    apart = torch.pdist(torch.stack(list(looks.values())))
    assert apart.min() > 0.03


@pytest.mark.parametrize("family", FAMILIES)
def test_a_style_paints_the_same_alone_or_in_company_within_range(family: str) -> None:
    pixels, edges, depth = contents()
    styles: list[Style | str] = [style_of(family, 4), style_of("neon", 1), family]
    seeds = [1, 2, 3]
    together = stylise(pixels, styles, seeds, edges, depth)
    assert torch.isfinite(together).all()
    assert together.min() >= 0
    assert together.max() <= 1
    for row in (0, 2):
        one = slice(row, row + 1)
        alone = stylise(pixels[one], styles[one], seeds[one], edges[one], depth[one])
        assert torch.equal(together[one], alone)
    assert torch.equal(together[2:], stylise(pixels[2:], [style_of(family)], [3], edges[2:], depth[2:]))
    assert stylise(pixels, [family] * 3, seeds).shape == pixels.shape  # outlines and layers from the colours alone


def test_code_is_a_function_of_family_and_seed() -> None:
    assert len(set(STYLE_CODE)) == NUM_STYLE
    codes = {(family, seed): style_of(family, seed).code for family in STYLES for seed in (0, 1, 2_000_001)}
    for (family, seed), code in codes.items():
        assert code.dtype == np.float32
        assert code.shape == (NUM_STYLE,)
        assert ((code >= 0) & (code <= 1)).all()
        assert np.array_equal(code, style_of(family, seed).code)
    assert len({code.tobytes() for code in codes.values()}) == len(codes)
    assert (style_of("clay").code == 0.5).all()


def test_unknown_families_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="no style family 'watercolor'; choose one of: render, watercolour"):
        style_of("watercolor")


def test_every_word_has_a_family_and_render_leaves_pictures_as_they_are() -> None:
    assert set(FAMILIES) == set(STYLES) - {"render"}
    pixels, edges, depth = contents()
    assert torch.equal(stylise(pixels, ["render"] * 3, [0, 1, 2], edges, depth), pixels)
    assert torch.equal(stylise(pixels, [style_of("render", 5)] * 3, [0, 1, 2]), pixels)


@pytest.mark.parametrize("family", OLD_LOOKS)
def test_the_middle_keeps_the_look_it_had(family: str) -> None:
    pixels, edges, depth = contents(128)
    middle = stylise(pixels, [family] * 3, [1, 2, 3], edges, depth)
    figures = [*middle.mean((0, 2, 3)).tolist(), *middle.std((0, 2, 3)).tolist()]
    assert figures == pytest.approx(OLD_LOOKS[family], abs=0.02)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_style_is_alike_at_any_size(family: str) -> None:
    coarse = []
    for size in (128, 256):
        pixels, edges, depth = contents(size)
        coarse.append(F.avg_pool2d(stylise(pixels, [style_of(family, 3)] * 3, [1, 2, 3], edges, depth), size // 8))
    assert (coarse[0] - coarse[1]).abs().mean() < 0.06


def test_drawing_follows_the_style_seed_and_leaves_the_truth_alone() -> None:
    graph = showing(individual("dog", 5), seed=5, scene="meadow", style="mosaic")
    drawn = draw([replace(graph, style_seed=seed) for seed in (None, 1, 1)], size=SIZE)
    assert torch.equal(drawn.pixels[1], drawn.pixels[2])
    assert (drawn.pixels[0].int() - drawn.pixels[1].int()).abs().float().mean() > 5
    assert torch.equal(drawn.toy[0], drawn.toy[1])
    assert torch.equal(drawn.depth[0], drawn.depth[1])


@pytest.mark.parametrize("family", FAMILIES)
def test_painting_stays_on_the_device_of_the_picture(family: str) -> None:
    """The meta device refuses, as a GPU does, to be mixed with the CPU."""
    pixels, flat = torch.empty(1, 3, SIZE, SIZE, device="meta"), torch.empty(1, SIZE, SIZE, device="meta")
    for seed in range(5):
        assert stylise(pixels, [style_of(family, seed)], [seed], flat, flat).device.type == "meta"


def test_thick_lines_have_no_gaps() -> None:
    line = torch.zeros(9, 9)
    line[4] = 1
    assert thickened(line, 3)[:, 0].tolist() == [0, 1, 1, 1, 1, 1, 1, 1, 0]
