"""Tokens of identities stacked behind those of the text, and read in each identity's own face alone (InstantFamily,
arXiv:2404.19427)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from limner.core.types import Live, Residuals
from limner.errors import InputError
from limner.parts.attention.regions import within_region
from limner.parts.encoders.keypoints import keypoint_image
from limner.parts.modifiers.control_branch import put_in
from limner.parts.modifiers.parameters import prefixed, taken, under

from .grounded_states import box_around, touched
from .identity_network import KEYPOINTS, POINTS, PREFIX, inside_region, subject_points

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import AttentionCall, Control, Kind, Pass

    from .decoupled_cross_attention import Tokens

GROWN = 2.4
"""Side of a face's square, as a multiple of the longer side of the box around its five keypoints."""


@dataclass(frozen=True)
class masked_identities:
    """In cross-attention, one softmax over the text's tokens and, inside of the face, those of its identity.

    This is masked cross-attention over a stack of embeddings (Eq. 5 of arXiv:2404.19427): positions outside of the face
    have the logit minus infinity at the identity's tokens, so any number of identities may be attached, and none
    changes what is read in the face of another. The tokens have keys and values of their own, which start as copies of
    the text's. Rows without pictures, negative branches among them, read the text alone.

    A control branch, a ControlNet that reads the text, has the condition "keypoints". While painting without that
    condition it has the keypoints of the subject's own picture, in the middle of the subject's region where there is
    one. The face is the square around the drawn keypoints, inside of the region; the region where none are drawn, and
    the whole picture without a region.

    subject: the subject whose pictures are used in sampling
    states: makes the identity's tokens [rows, tokens, C]
    scale: factor of the tokens' weights in the softmax; 0 leaves them out
    control_scale: strength of the control branch
    """

    acts_in: ClassVar[tuple[Kind, ...]] = ("cross",)

    subject: Subject
    states: Tokens
    scale: float = 1.0
    control_scale: float = 1.0

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        from limner.bases.common.control import control_of, copied_down_path

        strength, control_strength = scale * self.scale, scale * self.control_scale
        if min(strength, control_strength) < 0:
            raise InputError(f"the strength of an identity must be 0 or more, not {min(strength, control_strength):g}")
        network, start = copied_down_path(base, 3, generator)
        control_tensors = taken(prefixed(PREFIX, start), stored, base, what="the control branch of keypoints")
        put_in(network, under(PREFIX, control_tensors))
        points = stored[POINTS].to(base.device).float() if POINTS in stored else subject_points(base, self.subject)
        own, make = self.states(base, stored, generator)
        live = Live({**own, **self._keys_values(base, stored), **control_tensors, POINTS: points})
        live.may_read = frozenset({KEYPOINTS})

        def shown(run: Pass, rows: int) -> Tensor:
            if ("faces shown", id(self)) not in run.cache:
                run.cache["faces shown", id(self)] = self._shown(base, points, run, rows)
            pictures: Tensor = run.cache["faces shown", id(self)]
            return pictures

        def read(run: Pass, rows: int) -> Tensor:
            if ("identity", id(self)) not in run.cache:
                run.cache["identity", id(self)] = make(live.tensors, run, rows)
            states: Tensor = run.cache["identity", id(self)]
            return states

        def operation(call: AttentionCall) -> AttentionCall:
            if call.site.kind in self.acts_in and live.on:
                states = read(call.run, len(call.query))
                key, value = (states @ live.tensors[f"stacked.{call.site.name}.{part}"].T for part in ("key", "value"))
                inside = self._inside(call, shown(call.run, len(call.query)))  # [B, 1, N, 1]
                bias = call.query.new_full((), math.log(strength)).masked_fill(~inside, float("-inf"))
                call.behind.append((call.heads(key), call.heads(value), bias.expand(-1, -1, -1, states.shape[1])))
            return call

        if strength:
            live.operations = (operation,)
        if control_strength:
            control = control_of(network, KEYPOINTS, control_strength, instead=shown)
            live.controls = (_once(inside_region(control, self.subject.handle), self.subject.handle, live),)
        yield live

    def _keys_values(self, base: Base, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        start: dict[str, Tensor] = {}
        for site in (site for site in base.sites if site.kind in self.acts_in):
            key, value = base.key_value(site)
            start |= {f"stacked.{site.name}.key": key.weight, f"stacked.{site.name}.value": value.weight}
        return taken(start, stored, base, what="the identity's keys and values")

    def _shown(self, base: Base, points: Tensor, run: Pass, rows: int) -> Tensor:
        """[rows, 3, H, W]: the run's keypoint image, or that of the subject's own points [1, 5, 2]."""
        if KEYPOINTS in run.conditions:
            return run.conditions[KEYPOINTS]
        if run.random is not None:
            raise InputError(
                f"these identities learn from the condition {KEYPOINTS!r}, and these batches have none: take "
                "pairs_of_people(keypoints=True)"
            )
        region = run.regions.get(self.subject.handle)
        placed = points if region is None else in_middle_of(points, region)
        return keypoint_image(placed, base.picture_size).to(base.dtype).expand(rows, -1, -1, -1)

    def _inside(self, call: AttentionCall, pictures: Tensor) -> Tensor:
        """[B, 1, N, 1] bool: the positions of the face, in rows that have pictures."""
        import torch
        import torch.nn.functional as F

        run, handle = call.run, self.subject.handle
        if ("face squares", id(self)) not in run.cache:
            region = run.regions.get(handle)
            seen = pictures if region is None else pictures * F.interpolate(region.to(pictures), pictures.shape[-2:])
            run.cache["face squares", id(self)] = face_squares(seen)
        inside = touched(run.cache["face squares", id(self)], round(call.query.shape[2] ** 0.5)).to(call.query.device)
        inside = inside & (torch.as_tensor(within_region(call, handle), device=inside.device) > 0)
        return inside & has_identity(run, len(call.query)).to(inside.device).view(-1, 1, 1, 1)


def has_identity(run: Pass, rows: int) -> Tensor:
    """[rows] bool: rows with references in training; in sampling, all but those of the negative branch.

    run: the run
    rows: number of rows
    """
    import torch

    if run.references is not None:
        return run.references.on
    each, known = rows // len(run.branches), run.random is None
    return torch.tensor([known and branch != "negative" for branch in run.branches]).repeat_interleave(each)


def face_squares(pictures: Tensor) -> Tensor:
    """[rows, 4]: left, top, right, bottom of the face around the drawn keypoints, as shares; NaN for a black picture.

    pictures: keypoint images [rows, 3, H, W]
    """
    import torch

    drawn, squares = pictures.float().amax(1) > 0, []
    for picture in drawn:
        if not bool(picture.any()):
            squares.append(torch.full((4,), torch.nan, device=pictures.device))
            continue
        left, top, right, bottom = box_around(picture[None, None].float())[0]
        half = GROWN / 2 * torch.maximum(right - left, bottom - top)
        middle = torch.stack([left + right, top + bottom]) / 2
        squares.append(torch.cat([middle - half, middle + half]).clamp(0, 1))
    return torch.stack(squares)


def in_middle_of(points: Tensor, region: Tensor) -> Tensor:
    """[1, 5, 2]: points of a whole picture moved into the largest square in the middle of a region's box.

    points: [1, 5, 2], x and y as shares
    region: [1, 1, h, w], above 0 inside
    """
    import torch

    left, top, right, bottom = box_around(region)[0].to(points)
    side, middle = torch.minimum(right - left, bottom - top), torch.stack([left + right, top + bottom]) / 2
    there = (points >= 0).all()  # unknown points stay outside of the picture
    return torch.where(there, middle + side * (points - 0.5), points)


def _once(control: Control, handle: str, live: Live) -> Control:
    """A control branch that acts once where several subjects without regions have the same one."""

    def residuals(noised: Tensor, time: Tensor, given: Mapping[str, object], run: Pass) -> Residuals:
        first = run.cache.setdefault("keypoints of the whole picture", live) if handle not in run.regions else live
        return control(noised, time, given, run) if first is live else Residuals()

    return residuals


def stacked_tokens(*parts: Tokens) -> Tokens:
    """The tokens of several parts, one behind the other.

    parts: makers of tokens, with names of tensors that differ
    """

    def states(
        base: Base, stored: Mapping[str, Tensor], generator: Generator
    ) -> tuple[dict[str, Tensor], Callable[[Mapping[str, Tensor], Pass, int], Tensor]]:
        import torch

        made = [part(base, stored, generator) for part in parts]

        def make(own: Mapping[str, Tensor], run: Pass, rows: int) -> Tensor:
            return torch.cat([one(own, run, rows) for _, one in made], 1)

        return {name: tensor for own, _ in made for name, tensor in own.items()}, make

    return states
