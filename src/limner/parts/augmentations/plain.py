"""A subject on a plain background."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


PLAIN = 1.0
"""The plain background's brightness in [0, 1]."""


def on_plain(pixels: Tensor, masks: Tensor) -> Tensor:
    """The subject alone on a plain background, [..., 3, H, W].

    pixels: [..., 3, H, W] in [0, 1]
    masks: [..., 1, H, W] in [0, 1], 1 on the subject
    """
    return pixels * masks + PLAIN * (1 - masks)
