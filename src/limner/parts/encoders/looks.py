"""Features of a subject's pictures, and their way into the rows of a run, in training and in sampling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from limner.core.types import References

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import Pass

Encoder: TypeAlias = "Callable[[Base, Tensor], Tensor]"
"""Base and pixels [n, 3, H, W] in [0, 1] -> features [n, …]; nothing in it is trained."""

Look: TypeAlias = "Callable[[Base, References], Tensor]"
"""Base and the references of each row -> features [B, …]; nothing in it is trained. A look that needs masks has
`masked = True`. A concept stores its result in place of the pictures."""


@dataclass(frozen=True)
class mean_of:
    """The mean of an encoder's features over a row's pictures: [B, …].

    encoder: pixels -> features
    """

    encoder: Encoder

    def __call__(self, base: Base, references: References) -> Tensor:
        return _each(self.encoder, base, references).mean(1)


@dataclass(frozen=True)
class all_of:
    """An encoder's features [n, L, D] of all of a row's pictures, one behind the other: [B, R * L, D].

    encoder: pixels -> features
    """

    encoder: Encoder

    def __call__(self, base: Base, references: References) -> Tensor:
        return _each(self.encoder, base, references).flatten(1, 2)


@dataclass(frozen=True)
class each_of:
    """An encoder's features of each of a row's pictures: [B, R, …].

    encoder: pixels -> features
    """

    encoder: Encoder

    def __call__(self, base: Base, references: References) -> Tensor:
        return _each(self.encoder, base, references)


@dataclass(frozen=True)
class first_of:
    """An encoder's features of a row's first picture: [B, …].

    encoder: pixels -> features
    """

    encoder: Encoder

    def __call__(self, base: Base, references: References) -> Tensor:
        return _each(self.encoder, base, replace(references, pixels=references.pixels[:, :1]))[:, 0]


@dataclass(frozen=True)
class placed:
    """An encoder's features [n, 1 + L, S, D] of the global token and L patch tokens, for each of a row's pictures.

    One more column holds the subject's share of each patch, 1 for the global token: [B, R, 1 + L, S, D + 1].

    encoder: pixels -> features
    """

    encoder: Encoder
    masked: ClassVar[bool] = True

    def __call__(self, base: Base, references: References) -> Tensor:
        import torch
        import torch.nn.functional as F

        assert references.masks is not None
        features = _each(self.encoder, base, references)
        side = round((features.shape[2] - 1) ** 0.5)
        taken = F.adaptive_avg_pool2d(references.masks.flatten(0, 1).float(), side).flatten(1).to(features)
        where = F.pad(taken, (1, 0), value=1.0).unflatten(0, features.shape[:2])[..., None, None]
        return torch.cat([features, where.expand(*features.shape[:-1], 1)], -1)


@dataclass(frozen=True)
class pictures_alone:
    """A row's pictures at a smaller size, the subject alone on a plain background, with its mask: [B, R, 4, size,
    size].

    size: side of the pictures in pixels
    """

    size: int = 64
    masked: ClassVar[bool] = True

    def __call__(self, base: Base, references: References) -> Tensor:
        import torch
        import torch.nn.functional as F

        from limner.parts.augmentations.plain import on_plain

        assert references.masks is not None
        whole = torch.cat([on_plain(references.pixels, references.masks), references.masks.to(references.pixels)], 2)
        small = F.interpolate(whole.flatten(0, 1).float(), (self.size, self.size), mode="area")
        return small.unflatten(0, whole.shape[:2])


@dataclass(frozen=True)
class alone:
    """Features of the subject alone on a plain background, by its masks.

    look: features of the masked pictures
    """

    look: Look
    masked: ClassVar[bool] = True

    def __call__(self, base: Base, references: References) -> Tensor:
        from limner.parts.augmentations.plain import on_plain

        assert references.masks is not None
        return self.look(base, replace(references, pixels=on_plain(references.pixels, references.masks)))


@dataclass(frozen=True)
class filled:
    """Features of the subject on a background of its own mean colour, by its masks, so that its outline shows less.

    look: features of the pictures
    """

    look: Look
    masked: ClassVar[bool] = True

    def __call__(self, base: Base, references: References) -> Tensor:
        import torch

        assert references.masks is not None
        pixels, masks = references.pixels, references.masks.to(references.pixels)
        mean = (pixels * masks).sum((-2, -1), keepdim=True) / masks.sum((-2, -1), keepdim=True).clamp_min(1)
        return self.look(base, replace(references, pixels=torch.lerp(mean.expand_as(pixels), pixels, masks)))


@dataclass(frozen=True)
class close_up:
    """Features of the box around the subject's mask, resized to the whole picture.

    A picture without a mask stays whole.

    look: features of the resized pictures
    margin: margin around the box, as a share of its longer side
    """

    look: Look
    margin: float = 0.05
    masked: ClassVar[bool] = True

    def __call__(self, base: Base, references: References) -> Tensor:
        import torch
        import torch.nn.functional as F

        assert references.masks is not None
        pixels, masks = references.pixels.flatten(0, 1), references.masks.flatten(0, 1)
        how = torch.stack([window(mask[0] > 0.5, self.margin) for mask in masks]).to(pixels)
        grid = F.affine_grid(how, list(pixels.shape), align_corners=False)
        near = F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
        where = F.grid_sample(masks.to(pixels), grid, align_corners=False)
        shape = references.pixels.shape[:2]
        return self.look(base, replace(references, pixels=near.unflatten(0, shape), masks=where.unflatten(0, shape)))


def window(inside: Tensor, margin: float) -> Tensor:
    """[2, 3]: the square around a mask, as an affine map of [-1, 1] onto it.

    inside: mask [H, W], bool
    margin: margin on each side, as a share of the longer side of the mask
    """
    import torch

    rows, columns = (inside.any(axis).nonzero().flatten() for axis in (1, 0))
    if not len(rows):
        return torch.eye(2, 3)
    (top, bottom), (left, right) = ((float(x[0]), float(x[-1]) + 1) for x in (rows, columns))
    height, width = inside.shape
    half = (0.5 + margin) * max((bottom - top) / height, (right - left) / width)
    x, y = (left + right) / width - 1, (top + bottom) / height - 1
    return torch.tensor([[2 * half, 0, x], [0, 2 * half, y]])


def _each(encoder: Encoder, base: Base, references: References) -> Tensor:
    import torch

    with torch.no_grad():
        features = encoder(base, references.pixels.flatten(0, 1))
    return features.unflatten(0, references.pixels.shape[:2])


def subject_references(base: Base, subject: Subject, *, masks: bool = False) -> References:
    """One row: all pictures of the subject; one white picture for a subject without any (pre-training).

    base: the base
    subject: the subject
    masks: whether to add the masks
    """
    import torch

    from .masks import subject_masks

    if not subject.pictures:
        blank = torch.ones(1, 1, 3, base.picture_size, base.picture_size, device=base.device)
        return References(blank, blank[:, :, :1], ((f"a {subject.noun}",),), (subject.noun,))
    pixels = subject.tensor(base.picture_size).to(base.device)[None]
    where = subject_masks(base, subject).to(pixels)[None] if masks else None
    return References(pixels, where, (("",) * pixels.shape[1],), (subject.noun,))


def looked_at(base: Base, subject: Subject, look: Look, stored: Mapping[str, Tensor], name: str) -> Tensor:
    """[1, …]: features of the subject's pictures, or those stored under a name.

    base: the base
    subject: the subject
    look: base and references -> features
    stored: tensors of a concept
    name: name of the stored features
    """
    import torch

    if name in stored:
        return stored[name].to(base.device, base.dtype)
    masked = getattr(look, "masked", False)
    with torch.no_grad():
        return look(base, subject_references(base, subject, masks=masked)).to(base.dtype)


def looked_at_by_rows(base: Base, run: Pass, look: Look, own: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """[count, …] and [count] bool: features of each row of a run, and whether it has any.

    In training, rows have the references of their batch; in sampling, the subject's features, and negative branches
    none.

    base: the base
    run: the run
    look: base and references -> features
    own: the subject's features [1, …]
    count: number of rows
    """
    import torch

    if run.references is not None:
        key: Any = ("looked at", look)
        if key not in run.cache:
            with torch.no_grad():
                run.cache[key] = look(base, run.references).to(base.dtype)
        features: Tensor = run.cache[key]
        return features, run.references.on.to(features.device)
    return own.expand(count, *own.shape[1:]), shown_rows(run, count).to(own.device)


def shown_rows(run: Pass, count: int) -> Tensor:
    """[count] bool: rows of a run that show the subject.

    In training these are the rows with references, in sampling all but those of negative branches.

    run: the run
    count: number of rows
    """
    import torch

    if run.references is not None:
        return run.references.on
    if run.random is not None:  # a training batch without references
        return torch.zeros(count, dtype=torch.bool)
    shown = torch.tensor([branch != "negative" for branch in run.branches])
    return shown.repeat_interleave(count // len(run.branches))
