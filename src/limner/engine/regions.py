"""Several subjects in one picture, each in a region of its own: predictions blended by region, or latents composited.

Each position of the latents is predicted by the base with only that concept attached whose region it is in, so that
concepts which change the same layers never act together. Attention operations that act in every run
(`Layout.operations`) restrict each subject's words to its region.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import torch

from limner.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Adapted
    from limner.core.types import AttentionOp, Denoiser

COMPOSE = ("blend", "attention", "latents", "method")
"""How regions act: predictions are blended, only the words' attention is restricted, latents are composited, or the
concepts' own methods alone read them."""
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
    prompts: Mapping[str, str] = field(default_factory=dict)  # handle -> prompt of its region in place of the picture's
    first: Mapping[int, Tensor] = field(default_factory=dict)
    """Step -> latents [1, C, h, w] of the first pass before it, which run beside the background's."""
    follow: tuple[AttentionOp, ...] = ()  # operations of attention that act in runs of the background

    def alone(self, part: Part) -> Layout:
        """The layout of the run of one part."""
        if part.handles:
            return replace(self, compose="attention", first={})
        return replace(self, compose="attention", operations=self.operations + self.follow)


class Part(NamedTuple):
    """One of the predictions that are blended: the places of its adapters, its weight at each position, and the handles
    whose regions it predicts (none: the background)."""

    places: tuple[int, ...]
    weight: Tensor  # [1, 1, h, w] in [0, 1]
    handles: tuple[str, ...] = ()


def parts_of(adapted: Adapted, layout: Layout) -> list[Part]:
    """One part for each adapter with regions, and one for the background where regions leave any. The weights sum to 1
    at every position. Adapters that act everywhere are in every part. Raises `InputError` for an adapter that cannot be
    restricted to a region."""
    check_composable(adapted, layout.masks)
    handles = {
        place: tuple(answer.handle for answer in adapter.answers if answer.handle in layout.masks)
        for place, adapter in enumerate(adapted.adapters)
    }
    shared = tuple(place for place in adapted.everywhere if not handles[place])
    parts = []
    for place, own in handles.items():
        if own:
            mask = torch.stack([layout.masks[handle] for handle in own]).sum(0)
            parts.append(Part((place, *shared), mask.to(adapted.base.device, adapted.base.dtype), own))
    rest = (1 - torch.stack([part.weight for part in parts]).sum(0)).clamp(0, 1)
    if float(rest.max()) > 1e-6:
        everyone = tuple(range(len(adapted.adapters)))
        parts.append(Part(everyone if layout.background == "all" else shared, rest))
    total = torch.stack([part.weight for part in parts]).sum(0)
    return [part._replace(weight=part.weight / total) for part in parts]


ALONE = ("guidance", "denoiser", "branches", "parallel_stream", "reference_stream", "after_steps")
"""Fields of `Painting` that act on the whole picture."""
EVERYWHERE = ("guidance", "branches")
"""Those of them that an adapter may have which acts in every region: every part of the picture has its branches."""


def check_composable(adapted: Adapted, masks: Mapping[str, Tensor]) -> None:
    """Raise `InputError` for an adapter whose way of sampling cannot be restricted to a region, whether it has one or
    not: it would act in the other subjects' regions, or in none. A style without a region may guide."""
    for place, adapter in enumerate(adapted.adapters):
        shared = place in adapted.everywhere and not any(answer.handle in masks for answer in adapter.answers)
        names = [name for name in ALONE if not (shared and name in EVERYWHERE)]
        own = [name for name in names if getattr(adapter.recipe.painting, name)] if adapter.scale else []
        if own:
            raise InputError(
                f"{adapter.handle} has a way of sampling of its own ({own[0]}) that acts on the whole picture, so it "
                "cannot be painted beside subjects in regions of their own: give compose 'attention' (--compose "
                "attention) where you give regions, or leave it out"
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


def beside_first(denoise: Denoiser, first: Callable[[], Tensor | None]) -> Denoiser:
    """The same predictions, in runs whose second half of rows in each branch is the first pass at the same step.

    denoise: the denoiser of twice as many rows
    first: latents of the first pass [1 or B, C, h, w]; None where both passes have the same
    """

    def denoiser(x: Tensor, t: Tensor, *, branches: tuple[str, ...] = ("text",)) -> tuple[Tensor, ...]:
        latents = first()
        both = torch.cat([x, x if latents is None else latents.to(x).expand_as(x)])
        return tuple(output[: len(x)] for output in denoise(both, t.repeat(2), branches=branches))

    return denoiser
