"""CLIP's image encoder for references."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Generator, Tensor

    from limner.core.base import Base


def clip_global(base: Base, pixels: Tensor) -> Tensor:
    """[B, D]: one global embedding a picture, projected as for comparison with text.

    base: the base, with an image encoder
    pixels: [B, 3, H, W] in [0, 1]
    """
    import torch

    with torch.no_grad():
        return base.picture_features(pixels)


AT_ONCE = 500
"""Texts that are encoded in one run."""


def word_similarities(base: Base, pixels: Tensor, words: Sequence[str]) -> Tensor:
    """[B, n]: cosines of pictures to "a photo of a WORD" for every word. Raises `InputError` on a base whose CLIP
    compares no texts with pictures.

    base: the base
    pixels: [B, 3, H, W] in [0, 1]
    words: the words
    """
    import torch
    import torch.nn.functional as F

    prompts = [f"a photo of a {word}" for word in words]
    with torch.no_grad():
        pictures = base.picture_features(pixels).float()
        runs = [prompts[start : start + AT_ONCE] for start in range(0, len(prompts), AT_ONCE)]
        texts = torch.cat([base.text_features(run, words={}) for run in runs]).float()
    return F.normalize(pictures, dim=-1) @ F.normalize(texts, dim=-1).T


def clip_places(base: Base, pixels: Tensor) -> Tensor:
    """[B, L, D]: CLIP's hidden states at each patch token, of three depths.

    base: the base, with an image encoder
    pixels: [B, 3, H, W] in [0, 1]
    """
    import torch

    with torch.no_grad():
        return base.picture_states(pixels)


def clip_classes(base: Base, pixels: Tensor) -> Tensor:
    """[B, 3 * D]: CLIP's class tokens at three depths, each normalised, side by side.

    base: the base, with an image encoder
    pixels: [B, 3, H, W] in [0, 1]
    """
    import torch
    import torch.nn.functional as F

    with torch.no_grad():
        depths = base.picture_states(pixels).unflatten(1, (3, -1))[:, :, 0]  # [B, 3, D], the class token comes first
        return F.layer_norm(depths, depths.shape[-1:]).flatten(1)


def clip_tokens(base: Base, pixels: Tensor) -> Tensor:
    """[B, L, D]: all of CLIP's last tokens, the class token and the patch tokens, normalised.

    base: the base, with an image encoder
    pixels: [B, 3, H, W] in [0, 1]
    """
    import torch.nn.functional as F

    last = clip_last(base, pixels)
    return F.layer_norm(last, last.shape[-1:])


@dataclass(frozen=True)
class clip_depths:
    """[B, 3, H, W] in [0, 1] -> [B, L, depths, D]: CLIP's class and patch tokens at several depths, side by side.

    depths: shares of the image encoder's layers, each from 0 to 1
    """

    depths: tuple[float, ...]

    def __call__(self, base: Base, pixels: Tensor) -> Tensor:
        import torch

        with torch.no_grad():
            states = base.picture_states(pixels, self.depths)
        return states.unflatten(1, (len(self.depths), -1)).transpose(1, 2)


def clip_last(base: Base, pixels: Tensor) -> Tensor:
    """[B, L, D]: CLIP's patch tokens after the last layer, before its last norm.

    base: the base, with an image encoder
    pixels: [B, 3, H, W] in [0, 1]
    """
    return clip_places(base, pixels).chunk(3, 1)[2]


def clip_before_last(base: Base, pixels: Tensor) -> Tensor:
    """[B, L, D]: CLIP's class and patch tokens one layer before the last.

    base: the base, with an image encoder
    pixels: [B, 3, H, W] in [0, 1]
    """
    import torch

    with torch.no_grad():
        return base.picture_states(pixels, (0.999,))  # shares of the depth are rounded down to a layer


def unplaced_patches(base: Base, pixels: Tensor) -> Tensor:
    """[B, L, D]: CLIP's patch tokens in a run without the class token, all of them at one place: moving patches in the
    picture moves their tokens, and changes nothing else.

    base: the base, with an image encoder
    pixels: [B, 3, H, W] in [0, 1]
    """
    import torch

    with torch.no_grad():
        return base.picture_patches(pixels)


def shuffled_patches(generator: Generator) -> Callable[[Base, Tensor], Tensor]:
    """An encoder of pixels: CLIP's patch tokens in a run without the class token, each picture's patches at CLIP's
    places in an order at random (arXiv:2309.01770).

    generator: draws the orders
    """

    def encode(base: Base, pixels: Tensor) -> Tensor:
        import torch

        with torch.no_grad():
            count = base.picture_patches(pixels[:1]).shape[1]
            return base.picture_patches(pixels, torch.rand(len(pixels), count, generator=generator).argsort(1))

    return encode
