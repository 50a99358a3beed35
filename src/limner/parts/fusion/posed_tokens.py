"""A picture and a viewpoint as a token for cross-attention, and as latents at a place (CustomNet,
arXiv:2310.19784)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from limner.errors import InputError
from limner.parts.augmentations.pasting import pasted
from limner.parts.augmentations.plain import PLAIN
from limner.parts.encoders.looks import alone, close_up, first_of, looked_at, looked_at_by_rows
from limner.parts.encoders.scenes import scene_of
from limner.parts.modifiers.parameters import prefixed, taken, under

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import Pass, References
    from limner.parts.encoders.looks import Encoder, Look

MARGIN = 0.14
"""Margin around the subject in the pictures that are seen, as a share of its longer side: the authors' object fills 200
of 256 pixels."""


@dataclass(frozen=True)
class posed_tokens:
    """For the `states` of `decoupled_cross_attention`: one token of an embedding and the move of the camera.

    The token is a linear map of [e, polar, sin(azimuth), cos(azimuth), distance] (Sec. 3.1 of arXiv:2310.19784, as in
    Zero-1-to-3, arXiv:2303.11328), where the last four are the move from the picture that is seen to the one to paint.
    In training the move comes with the references; in sampling it is the viewpoint that the user asks for, and none
    without one. An unknown move counts as none. Rows without references, and negative branches, read zeros.

    subject: the subject, whose first picture is seen alone on a plain background
    encoder: base and pixels [n, 3, H, W] in [0, 1] -> embeddings [n, D]
    """

    takes_view: ClassVar[bool] = True

    subject: Subject
    encoder: Encoder

    @property
    def look(self) -> Look:
        return alone(close_up(first_of(self.encoder), MARGIN))

    def __call__(
        self, base: Base, stored: Mapping[str, Tensor], generator: Generator
    ) -> tuple[dict[str, Tensor], Callable[[Mapping[str, Tensor], Pass, int], Tensor]]:
        import torch
        import torch.nn.functional as F

        prefix = "image.posed."
        given = under(prefix, stored)
        features = looked_at(base, self.subject, self.look, given, "features")
        site = next(site for site in base.sites if site.kind in ("cross", "joint"))
        wide, dim = base.key_value(site)[0].weight.shape[1], features.shape[-1]
        start = {"weight": torch.randn(wide, dim + 4, generator=generator) / dim**0.5, "bias": torch.zeros(wide)}
        own = prefixed(prefix, {**taken(start, given, base, what="the posed token"), "features": features})

        def make(every: Mapping[str, Tensor], run: Pass, rows: int) -> Tensor:
            mine = under(prefix, every)
            seen, on = looked_at_by_rows(base, run, self.look, mine["features"], rows)
            posed = torch.cat([seen, pose(self._moves(run, rows)).to(seen)], 1)
            token = F.linear(posed, mine["weight"], mine["bias"])
            return (token * on.to(token)[:, None])[:, None]

        return own, make

    def _moves(self, run: Pass, rows: int) -> Tensor:
        """[rows, 3]: the move of the camera in each row. Raises `InputError` for a training batch without moves."""
        import torch

        if run.references is not None:
            if run.references.moves is None:
                raise InputError(
                    "this method learns from the camera's move between two pictures, and these batches have none: take "
                    "pairs(moves=True)"
                )
            return run.references.moves[:, 0].nan_to_num(0.0)
        return run.views.get(self.subject.handle, torch.zeros(3)).expand(rows, -1)


def pose(moves: Tensor) -> Tensor:
    """[n, 4]: polar angle, sine and cosine of the azimuth, and logarithm of the distance of moves [n, 3].

    moves: azimuth, elevation and logarithm of the distance
    """
    import torch

    azimuth, elevation, distance = moves.unbind(1)
    return torch.stack([-elevation, azimuth.sin(), azimuth.cos(), -distance], 1)


@dataclass(frozen=True)
class placed_latents:
    """For `further_channels`: latents of the subject at its place on white, and latents of the background.

    The subject's first picture, cut out on white as a square, is put into the square around the place's longer side
    (Sec. 3.2 of arXiv:2310.19784); its place is all that says where the subject is to be. The background is the scene
    with the place white, and grey where no scene is known (Sec. 3.3). Rows without references, and negative branches,
    have zeros for the subject; all have the background.

    subject: the subject
    """

    subject: Subject

    def __call__(
        self, base: Base, given: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], int, Callable[[Pass, int], Tensor]]:
        cut = looked_at(base, self.subject, LOOK, given, "cut")
        handle = self.subject.handle

        def make(run: Pass, rows: int) -> Tensor:
            about = run.conditions.get("mask", run.regions.get(handle, cut))
            name = f"placed latents of {handle}, {rows}, {run.branches}"
            return run.sampling.once(name, about, lambda: self._encoded(base, run, rows, cut))

        return {"cut": cut}, 2 * base.latent_shape[0], make

    def _encoded(self, base: Base, run: Pass, rows: int, cut: Tensor) -> Tensor:
        """[rows, 2 C, h, w]"""
        import torch

        with torch.no_grad():
            scene = scene_of(base, run, rows, self.subject.handle)
            seen, on = looked_at_by_rows(base, run, LOOK, cut, rows)
            subject = pasted(seen.to(scene.pixels), squares(scene.boxes), around=PLAIN)
            background = torch.lerp(scene.pixels, torch.full_like(scene.hole, PLAIN), scene.hole)
            placed, behind = (base.encode(pixels)[0].to(base.dtype) for pixels in (subject, background))
        return torch.cat([placed * on.to(placed).view(-1, 1, 1, 1), behind], 1)


def squares(boxes: Tensor) -> Tensor:
    """[n, 4]: the square about each box, of its longer side with the MARGIN; it may reach out of the picture.

    boxes: [n, 4], left, top, right and bottom as shares of the picture
    """
    import torch

    centre, longest = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).amax(1, keepdim=True)
    half = (0.5 + MARGIN) * longest
    return torch.cat([centre - half, centre + half], 1)


def first_picture(base: Base, references: References) -> Tensor:
    """[B, 3, H, W]: each row's first picture.

    base: the base
    references: the references
    """
    return references.first.to(base.dtype)


LOOK: Any = alone(close_up(first_picture, MARGIN))
"""The subject alone on white, cut out as a square."""
