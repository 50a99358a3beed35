"""Encoders of facial expressions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base

    from .looks import Encoder

EXPRESSIONS = ("neutral", "smiling", "sad", "surprised", "angry", "laughing", "frightened", "asleep")
SHARP = 100.0
"""CLIP's own factor of similarities."""


def expression_code(base: Base, pixels: Tensor) -> Tensor:
    """[n, len(EXPRESSIONS)]: CLIP's probability of each expression minus the mean, so that a row without preference is
    zeros.

    Raises `InputError` where the base's text encoder is not of the CLIP whose image encoder it has.

    base: the base, with CLIP's image and text encoder
    pixels: [n, 3, H, W] in [0, 1]
    """
    import torch
    import torch.nn.functional as F

    with torch.no_grad():
        texts = base.text_features([f"a photo of a {word} face" for word in EXPRESSIONS], words={})
        seen = base.picture_features(pixels)
        alike = F.normalize(seen.float(), dim=-1) @ F.normalize(texts.float(), dim=-1).T
    return (SHARP * alike).softmax(-1) - 1 / len(EXPRESSIONS)


@dataclass(frozen=True)
class clip_class_depths:
    """[n, 3, H, W] in [0, 1] -> [n, depths * D]: CLIP's class token at several depths, each normalised, side by side.

    depths: shares of the image encoder's layers, each from 0 to 1
    """

    depths: tuple[float, ...]

    def __call__(self, base: Base, pixels: Tensor) -> Tensor:
        import torch
        import torch.nn.functional as F

        with torch.no_grad():
            states = base.picture_states(pixels, self.depths).unflatten(1, (len(self.depths), -1))[:, :, 0]
        return F.layer_norm(states, states.shape[-1:]).flatten(1)


@dataclass(frozen=True)
class side_by_side:
    """[n, 3, H, W] in [0, 1] -> [n, sum of widths]: the features of several encoders [n, D], side by side.

    encoders: encoders that give one row a picture
    """

    encoders: tuple[Encoder, ...]

    def __call__(self, base: Base, pixels: Tensor) -> Tensor:
        import torch

        seen = [encoder(base, pixels) for encoder in self.encoders]
        return torch.cat([part.to(seen[0]) for part in seen], -1)
