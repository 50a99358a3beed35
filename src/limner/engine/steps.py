"""The state after a step of sampling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class PaintStep:
    """The state after a sampling step; `latents` [B, C, h, w] are without reference streams. `clean` computes the clean
    latents [B, C, h, w] that the step's prediction implies, in which a picture can be seen before sampling ends."""

    step: int  # from 0
    total: int
    latents: Tensor = field(repr=False)
    clean: Callable[[], Tensor] = field(repr=False, compare=False)
