"""Several subjects in one picture, each in a region of its own: predictions blended by region, or latents composited.

Each position of the latents is predicted by the base with only that concept attached whose region it is in, so that
concepts which change the same layers never act together. Attention operations that act in every run
(`Layout.operations`) restrict each subject's words to its region.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import torch

from limner.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Adapted
    from limner.core.types import AttentionOp, Denoiser

COMPOSE = ("blend", "attention", "latents")
"""How regions act: predictions are blended, only the words' attention is restricted, or latents are composited."""
BACKGROUNDS = ("base", "all")
"""The predictor of positions outside of all regions: the unchanged base, or the base with every concept attached."""


@dataclass(frozen=True)
class Layout:
    """The regions of a picture's subjects, and the way in which they act.

    `masks` are [1, 1, h, w] in [0, 1] at the size of the latents, by handle; they sum to at most 1 at every position.
    With "latents", each subject is sampled on latents of its own for the share `join` of the steps; these latents are
    then composited by region, and the remaining steps blend predictions, which removes the seams.
    """

    masks: Mapping[str, Tensor]
    compose: str = "blend"
    background: str = "base"
    join: float = 0.5
    operations: tuple[AttentionOp, ...] = ()  # operations of attention that act in every run
    story: Mapping[str, object] = field(default_factory=dict)  # the layout in a picture's record


class Part(NamedTuple):
    """One of the predictions that are blended: the places of its adapters, and its weight at each position."""

    places: tuple[int, ...]
    weight: Tensor  # [1, 1, h, w] in [0, 1]


def parts_of(adapted: Adapted, layout: Layout) -> list[Part]:
    """One part for each adapter with regions, and one for the background where regions leave any. The weights sum to 1
    at every position. Raises `InputError` for an adapter that cannot be restricted to a region."""
    parts = []
    for place, adapter in enumerate(adapted.adapters):
        own = [layout.masks[answer.handle] for answer in adapter.answers if answer.handle in layout.masks]
        if own:
            _check_composable(adapter.handle, adapter.recipe.painting)
            parts.append(Part((place,), torch.stack(own).sum(0).to(adapted.base.device, adapted.base.dtype)))
    rest = (1 - torch.stack([part.weight for part in parts]).sum(0)).clamp(0, 1)
    if float(rest.max()) > 1e-6:
        everyone = tuple(range(len(adapted.adapters)))
        parts.append(Part(everyone if layout.background == "all" else (), rest))
    total = torch.stack([part.weight for part in parts]).sum(0)
    return [part._replace(weight=part.weight / total) for part in parts]


ALONE = ("guidance", "denoiser", "branches", "parallel_stream", "reference_stream")
"""Fields of `Painting` that act on the whole picture."""


def _check_composable(handle: str, painting: object) -> None:
    own = [name for name in ALONE if getattr(painting, name)]
    if own:
        raise InputError(
            f"{handle} has a way of sampling of its own ({own[0]}) that acts on the whole picture, so it cannot be "
            "restricted to a region: give compose 'attention', or leave its region out"
        )


def blended(
    adapted: Adapted, parts: Sequence[Part], denoisers: Sequence[Denoiser], before: Callable[[], None]
) -> Denoiser:
    """A denoiser that returns the sum of weight times prediction over the parts, each predicted while only its adapters
    act (the fusion of diffusion paths of arXiv:2302.08113, Eq. 5, with one path for each subject). Every branch is
    blended, so that guidance acts on blended predictions.

    `before` is called before each prediction.
    """

    def denoise(x: Tensor, t: Tensor, *, branches: tuple[str, ...] = ("text",)) -> tuple[Tensor, ...]:
        total: list[Tensor] = []
        for part, denoiser in zip(parts, denoisers, strict=True):
            before()
            with adapted.only(*part.places):
                outputs = [part.weight * output for output in denoiser(x, t, branches=branches)]
            total = [a + b for a, b in zip(total, outputs, strict=True)] if total else outputs
        return tuple(total)

    return denoise


def composited(parts: Sequence[Part], latents: Sequence[Tensor]) -> Tensor:
    """[B, C, h, w]: the sum of weight times the latents of each part."""
    return sum((part.weight * own for part, own in zip(parts, latents, strict=True)), torch.zeros_like(latents[0]))
