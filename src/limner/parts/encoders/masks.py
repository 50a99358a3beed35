"""Where the subject is, on each of its pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base
    from limner.core.capabilities import Segmenter
    from limner.core.subject import Subject

NEIGHBOURS = 5
LEAST = 0.015
"""A subject covers at least this share of a picture. The segmenter that ships finds 0.056 and more of each of its
subjects, and at most 0.01 in scenes without one."""


def subject_masks(base: Base, subject: Subject) -> Tensor:
    """[n, 1, H, W] in [0, 1]: the masks that came with the pictures, else those that the base's segmenter finds.

    Raises `InputError` where there are neither, and where nothing is found on a picture.
    """
    size = base.picture_size
    given = subject.masks(size)
    if given is not None:
        return given
    if base.segmenter is None:
        raise InputError(
            f"this method needs to know where {subject.name} is: put a mask beside every picture (NAME.mask.png, white where "
            "the subject is), or make the background transparent"
        )
    empty = unseen(base, subject)
    if empty:
        raise InputError(
            f"{subject.name} was not found on {', '.join(empty)}: leave out pictures that do not show it, or put a mask beside them "
            "(NAME.mask.png, white where the subject is)"
        )
    return _found(base.segmenter, subject, size)


def unseen(base: Base, subject: Subject) -> list[str]:
    """The names of pictures on which the base's segmenter finds no subject; none where it has no segmenter, or all have
    masks."""
    segmenter = base.segmenter
    if segmenter is None or all(picture.mask is not None for picture in subject.pictures):
        return []
    share = _found(segmenter, subject, base.picture_size).mean((1, 2, 3))
    return [picture.name for picture, there in zip(subject.pictures, share.tolist(), strict=True) if there < LEAST]


def _found(segmenter: Segmenter, subject: Subject, size: int) -> Tensor:
    """[n, 1, size, size]: 1 where the subject is more likely than not."""
    return (segmenter(subject.tensor(size)) > 0.5).float()[:, None]


def background_masks(base: Base, subject: Subject) -> Tensor:
    """[n, 1, H, W]: where the subject is not."""
    return 1 - subject_masks(base, subject)


def propagated_masks(base: Base, subject: Subject) -> Tensor:
    """[n, 1, h, w]: the first picture's mask, and on every other picture the places whose features are nearer to the first's
    foreground than to its background (the one-shot matching of PerSAM, Sec. 3.1 of arXiv:2305.03048).

    Features are the denoiser's in the place of SAM's; near is the mean cosine to the NEIGHBOURS nearest places of each.
    """
    import torch
    import torch.nn.functional as F

    from .denoiser import denoiser_features

    pixels = subject.tensor(base.picture_size).to(base.device)
    with torch.no_grad():
        features = denoiser_features(base, base.encode(pixels)[0], f"a {subject.noun}")
    size = features.shape[-2:]
    first = F.interpolate(subject_masks(base, _first(subject)).float(), size, mode="area") > 0.5
    flat = F.normalize(features.flatten(2), dim=1)
    near = torch.einsum("bcn,cm->bnm", flat, flat[0])
    inside = first.flatten().to(near.device)
    count = max(1, min(NEIGHBOURS, int(inside.sum()), int((~inside).sum())))
    like = near[:, :, inside].topk(count, 2).values.mean(2) - near[:, :, ~inside].topk(count, 2).values.mean(2)
    found = (like > 0).float().view(-1, 1, *size).cpu()
    return torch.cat([first.float(), found[1:]])


def _first(subject: Subject) -> Subject:
    from dataclasses import replace

    return replace(subject, pictures=subject.pictures[:1])
