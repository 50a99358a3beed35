"""Expressions and depths of faces as encoders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base

    from .looks import Encoder

EXPRESSIONS = ("neutral", "smiling", "sad", "surprised", "angry", "laughing", "frightened", "asleep")
SHARP = 100.0
"""CLIP's own scale of similarities."""


def expression_code(base: Base, pixels: Tensor) -> Tensor:
    """[n, 3, H, W] in [0, 1] -> [n, len(EXPRESSIONS)]: how likely CLIP finds each expression in the picture, less the
    mean, so that no expression is zeros. Raises `InputError` where a base's text encoder is not of the CLIP that sees
    its pictures."""
    import torch
    import torch.nn.functional as F

    with torch.no_grad():
        texts = base.text_features([f"a photo of a {word} face" for word in EXPRESSIONS], words={})
        seen = base.picture_features(pixels)
        alike = F.normalize(seen.float(), dim=-1) @ F.normalize(texts.float(), dim=-1).T
    return (SHARP * alike).softmax(-1) - 1 / len(EXPRESSIONS)


@dataclass(frozen=True)
class clip_class_depths:
    """[n, 3, H, W] in [0, 1] -> [n, depths * D]: CLIP's class token at several parts of its depth, each normalised,
    side by side.

    depths: parts of the image encoder's depth, each from 0 to 1
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
    """[n, 3, H, W] in [0, 1] -> [n, sum of widths]: what several encoders [n, D] see, side by side.

    encoders: each gives one row a picture
    """

    encoders: tuple[Encoder, ...]

    def __call__(self, base: Base, pixels: Tensor) -> Tensor:
        import torch

        seen = [encoder(base, pixels) for encoder in self.encoders]
        return torch.cat([part.to(seen[0]) for part in seen], -1)
