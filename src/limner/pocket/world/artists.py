"""Individuals of a style family: the same family in another hand, as two painters of watercolours differ."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from limner.core.streams import stream

from .vocabulary import STYLES

STYLE_CODE = (
    "hue",  # hue of the first pigment: shadows, first ink, ground of blueprints
    "second hue",  # hue of the second pigment: lights, second ink
    "saturation",
    "palette",  # how far the colours give way to the two pigments; 0.5 is not at all, below it the pigments swap
    "paper",  # how far paper, grout or cloth are from their plain colour; 0.5 is plain
    "paper hue",
    "grain",  # roughness of the ground and speckles
    "contrast",
    "brightness",
    "stroke",  # size of strokes, cells, dots or blur
    "angle",  # direction of strokes, screens or light
    "ink",  # strength of outlines and shadows
    "outline",  # width of outlines
    "ink hue",  # colour of outlines; 0.5 is the family's own ink
    "wobble",  # unsteadiness of hand, misregistration, irregular cells
    "variant",  # a trait of the family alone: white border, hatching, double tone, seal, layers
)
"""Meaning of the code's entries. Families read a name in the same sense, each over a range of its own."""

NUM_STYLE = len(STYLE_CODE)
"""Length of the continuous code of every individual style."""


@dataclass(frozen=True, eq=False)
class Style:
    """One hand of a style family: all that is the style's in a picture, apart from what the picture shows."""

    family: str  # one of vocabulary.STYLES
    seed: int | None  # None is the middle of every range
    code: np.ndarray  # [NUM_STYLE] float32 in [0, 1], in the order of STYLE_CODE

    def between(self, name: str, low: float, high: float) -> float:
        """The parameter of that name, in [low, high]."""
        return low + (high - low) * float(self.code[STYLE_CODE.index(name)])

    def off(self, name: str) -> float:
        """The parameter's signed distance from the middle, in [-1, 1]."""
        return self.between(name, -1.0, 1.0)

    def above(self, name: str) -> float:
        """How far the parameter is above the middle, in [0, 1]; 0 below it."""
        return max(0.0, self.off(name))

    def below(self, name: str) -> float:
        """How far the parameter is below the middle, in [0, 1]; 0 above it."""
        return max(0.0, -self.off(name))

    def colour(self, name: str, hue: float, saturation: float, value: float, *, span: float = 1.0) -> Tensor:
        """[3, 1, 1] sRGB: the colour of that hue, saturation and value (in [0, 1]) with its hue turned by the
        parameter, at most `span` / 2 of a turn either way."""
        turned = (hue + span * self.off(name) / 2) % 1.0
        return torch.tensor(colorsys.hsv_to_rgb(turned, saturation, value))[:, None, None]


def style_of(family: str, seed: int | None = None) -> Style:
    """The individual of that family and seed: the same one for ever, whatever is painted in it.

    Splits of seeds are those of `graph.SPLITS`. Raises ValueError for a family that is none of vocabulary.STYLES.
    """
    if family not in STYLES:
        raise ValueError(f"no style family {family!r}; choose one of: {', '.join(STYLES)}")
    if seed is None:
        code = np.full(NUM_STYLE, 0.5, dtype=np.float32)
    else:
        code = torch.rand(NUM_STYLE, generator=stream(seed, "style", family)).numpy()
    code.flags.writeable = False
    return Style(family, seed, code)
