"""IdentityNet: a control branch on a face's keypoints that reads an identity in place of the text (InstantID,
arXiv:2401.07519)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from limner.errors import InputError
from limner.parts.encoders.keypoints import keypoint_image
from limner.parts.modifiers.control_branch import put_in
from limner.parts.modifiers.parameters import prefixed, taken, under

from .decoupled_cross_attention import STATES, decoupled_cross_attention

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import Control, Kind, Live, Pass, Residuals

KEYPOINTS = "keypoints"
"""Name of the condition."""
PREFIX, POINTS = f"control.{KEYPOINTS}.", "identity.points"
UNKNOWN = -1.0
"""Places of points that nobody knows: outside of the picture, where nothing is drawn."""


@dataclass(frozen=True)
class identity_network:
    """An identity adapter and, beside it, a control branch on a keypoint image whose cross-attention reads the
    adapter's vectors and no text (Sec. 3.2 of arXiv:2401.07519). On bases with a UNet; on one shaped like SDXL, the
    branch is also given the prompt's global vector, as the authors' pipeline does.

    While painting, the branch reads the condition "keypoints"; where none is given, the keypoints of the first of the
    subject's pictures that shows a face. On a base without a landmark detector these are unknown, and the branch reads
    a black picture. In training, the batches give the condition. Where the subject has a region, residuals count in it
    alone.

    Its tensors are those of the adapter and `control.keypoints.…`.

    Arguments:
        adapter: makes the vectors; it reads them beside the text
        scale: strength of the branch; that of the adapter is its own
    """

    acts_in: ClassVar[tuple[Kind, ...]] = decoupled_cross_attention.acts_in

    adapter: decoupled_cross_attention
    scale: float = 1.0

    @property
    def subject(self) -> Subject:
        return self.adapter.subject

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        from limner.bases.common.control import control_of, copied_down_path

        network, start = copied_down_path(base, 3, generator)
        tensors = taken(prefixed(PREFIX, start), stored, base, what="IdentityNet")
        put_in(network, under(PREFIX, tensors))
        points = stored[POINTS].to(base.device).float() if POINTS in stored else subject_points(base, self.subject)
        with self.adapter(base, stored=stored, generator=generator, scale=scale) as live:
            live.tensors |= {**tensors, POINTS: points}
            live.may_read |= {KEYPOINTS}
            if scale * self.scale:
                shown = _keypoints_of_run(keypoint_image(points, base.picture_size))
                control = control_of(network, KEYPOINTS, scale * self.scale, instead=shown, states=live.offers[STATES])
                live.controls = (*live.controls, inside_region(control, self.subject.handle))
            yield live


def subject_points(base: Base, subject: Subject) -> Tensor:
    """[1, 5, 2]: the five points of the face in the first of the subject's pictures that shows one, x and y as shares;
    UNKNOWN where none does, or where the base has no landmark detector.

    base: the base
    subject: the subject
    """
    import torch

    from limner.parts.encoders.faces import face_points

    unknown = torch.full((1, 5, 2), UNKNOWN, device=base.device)
    if not subject.pictures or "landmarks" not in base.encoders:
        return unknown
    with torch.no_grad():
        points = face_points(base, subject.tensor(base.picture_size).to(base.device)).float()
    seen = points[~points.isnan().any((1, 2))]
    return torch.cat([seen, unknown])[:1]


def _keypoints_of_run(own: Tensor) -> Callable[[Pass, int], Tensor]:
    """(run, rows) -> [rows, 3, H, W]: the run's condition, or while painting the subject's own [1, 3, H, W]."""

    def shown(run: Pass, rows: int) -> Tensor:
        if KEYPOINTS in run.conditions:
            return run.conditions[KEYPOINTS]
        if run.random is not None:
            raise InputError(
                f"IdentityNet learns from the condition {KEYPOINTS!r}, and these batches have none: take pairs_of_people("
                "keypoints=True)"
            )
        return own.expand(rows, -1, -1, -1)

    return shown


def inside_region(control: Control, handle: str) -> Control:
    """A control branch whose residuals count inside of a handle's region, where it has one.

    control: the control branch
    handle: the subject's word in prompts
    """
    import torch.nn.functional as F

    def residuals(noised: Tensor, time: Tensor, given: Mapping[str, object], run: Pass) -> Residuals:
        network_residuals, region = control(noised, time, given, run), run.regions.get(handle)
        if region is None:
            return network_residuals

        def inside(part: Tensor) -> Tensor:
            return part * F.interpolate(region.to(part), part.shape[-2:], mode="area")

        middle = None if network_residuals.middle is None else inside(network_residuals.middle)
        return replace(network_residuals, skips=tuple(map(inside, network_residuals.skips)), middle=middle)

    return residuals
