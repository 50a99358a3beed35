"""A control branch on a collage: a scene with the details of a subject put into a box (AnyDoor, arXiv:2307.09481)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from limner.parts.augmentations.pasting import pasted
from limner.parts.encoders.details import detail_map
from limner.parts.encoders.looks import alone, close_up, looked_at, looked_at_by_rows
from limner.parts.encoders.scenes import CONDITIONS, scene_of
from limner.parts.modifiers.control_branch import put_in
from limner.parts.modifiers.parameters import prefixed, taken, under

from .decoupled_cross_attention import STATES
from .tokens_for_text import MARGIN, tokens_for_text

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import Kind, Live, Pass, References
    from limner.parts.encoders.looks import Look

PREFIX, DETAILS = "control.collage.", "collage.details"


@dataclass(frozen=True)
class collage_network:
    """The subject's tokens in place of the text, and a control branch on a collage that reads these tokens too
    (Sec. 3.2 and 3.3 of arXiv:2307.09481). On bases with a UNet.

    The collage has four channels: the scene with the box of the hole filled by the subject's detail map, and the hole.
    The scene is the condition "source" and the hole the condition "mask"; see `scene_of` for what is taken without
    them. All branches of sampling have the same collage, as with the authors.

    tokens: the subject's tokens
    scale: strength of the control branch
    look: what fills the box: features [B, 3, H, W] in [0, 1] of the subject's first picture
    """

    acts_in: ClassVar[tuple[Kind, ...]] = tokens_for_text.acts_in

    tokens: tokens_for_text
    scale: float = 1.0
    look: Look | None = None  # None: its details alone

    @property
    def subject(self) -> Subject:
        return self.tokens.subject

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        from limner.bases.common.control import control_of, copied_down_path

        network, start = copied_down_path(base, 4, generator)
        tensors = taken(prefixed(PREFIX, start), stored, base, what="the detail extractor")
        put_in(network, under(PREFIX, tensors))
        look = self.look or LOOK
        details = looked_at(base, self.subject, look, stored, DETAILS)

        def shown(run: Pass, rows: int) -> Tensor:
            about = run.conditions.get("mask", run.regions.get(self.subject.handle, details))
            name = f"collage of {self.subject.handle}, {rows}"
            return run.sampling.once(name, about, lambda: collage(base, run, rows, self.subject.handle, details, look))

        with self.tokens(base, stored=stored, generator=generator, scale=scale) as live:
            live.tensors |= {**tensors, DETAILS: details}
            live.may_read |= CONDITIONS
            if scale * self.scale:
                states = live.offers[STATES]
                control = control_of(network, "collage", scale * self.scale, instead=shown, states=states)
                live.controls = (*live.controls, control)
            yield live


def first_details(base: Base, references: References) -> Tensor:
    """[B, 3, H, W]: the detail map of each row's first picture, by its mask.

    base: the base
    references: the references, with masks
    """
    assert references.masks is not None
    return detail_map(references.pixels[:, 0], references.masks[:, 0].to(references.pixels))


LOOK = alone(close_up(first_details, MARGIN))
"""The details of the subject alone, cut out as the tokens' picture is."""


def first_silhouette(base: Base, references: References) -> Tensor:
    """[B, 3, H, W] of 0 and 1: the mask of each row's first picture, which says its shape and nothing of its texture.

    base: the base
    references: the references, with masks
    """
    assert references.masks is not None
    return (references.masks[:, 0] > 0.5).to(references.pixels).expand(-1, 3, -1, -1)


SILHOUETTE = close_up(first_silhouette, MARGIN)
"""The outline of the subject, cut out as the tokens' picture is."""


def collage(base: Base, run: Pass, rows: int, handle: str, details: Tensor, look: Look = LOOK) -> Tensor:
    """[rows, 4, H, W]: the scene with details in the box of the hole, from -1 to 1, and the hole, 0 or 1.

    base: the base
    run: the run
    rows: number of its rows
    handle: the subject's word in prompts
    details: detail map of the subject's first picture [1, 3, H, W]; in training, rows have their own references'
    look: what such a map is
    """
    import torch

    scene = scene_of(base, run, rows, handle)
    maps, _ = looked_at_by_rows(base, run, look, details, rows)
    return torch.cat([2 * pasted(maps.to(scene.pixels), scene.boxes, around=scene.pixels) - 1, scene.hole], 1)
