"""Latents that a changed photograph is drawn to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from limner.core.recipe import Objective

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Step
    from limner.core.recipe import Source


def latents_near(source: Source, target: Callable[[int], Tensor] | None = None) -> Objective:
    """Mean squared distance of the latents to those of a target picture, or to zero, which is the norm that the encoder
    attack of arXiv:2302.06588 lowers. The denoiser does not run.

    source: batches of changed photographs
    target: side in pixels -> picture [1, 3, side, side] in [0, 1]; None: latents of zero
    """

    def value(step: Step) -> Tensor:
        import torch

        adapted = step.adapted
        if target is None:
            return step.batch.latents.square().mean()
        if target not in adapted.cache:
            with torch.no_grad():
                pixels = target(adapted.base.picture_size).to(adapted.base.device, adapted.base.dtype)
                adapted.cache[target] = adapted.base.encode(pixels)[0]
        return (step.batch.latents - adapted.cache[target]).square().mean()

    return Objective(f"latents near({source.name})", source, value)


def texture(size: int) -> Tensor:
    """A checkerboard [1, 3, size, size] of black and white: our own pattern, with much contrast and no content.

    size: side in pixels
    """
    import torch

    squares = torch.arange(size) * SQUARES // size
    board = (squares[:, None] + squares[None, :]) % 2
    return board.float().expand(1, 3, size, size)


SQUARES = 16
"""Squares along a side of the texture."""
