"""Masks of the subject on each of its pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from limner.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base
    from limner.core.capabilities import Segmenter
    from limner.core.subject import Subject

NEIGHBOURS = 5
LEAST = 0.015
"""Least share of a picture that a subject covers. The segmenter that ships finds 0.056 and more of each of its
subjects, and at most 0.01 in scenes without one."""


def subject_masks(base: Base, subject: Subject) -> Tensor:
    """[n, 1, H, W] in [0, 1]: the masks that came with the pictures, else those that the base's segmenter finds.

    Raises `InputError` where there are neither masks nor a segmenter, and for a picture on which no subject is found.

    base: the base
    subject: the subject with its pictures
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
    return _segment(base.segmenter, subject, size)


def unseen(base: Base, subject: Subject) -> list[str]:
    """Names of the pictures on which the base's segmenter finds no subject.

    The list is empty where the base has no segmenter, and where all pictures have masks.

    base: the base
    subject: the subject with its pictures
    """
    segmenter = base.segmenter
    if segmenter is None or all(picture.mask is not None for picture in subject.pictures):
        return []
    share = _segment(segmenter, subject, base.picture_size).mean((1, 2, 3))
    return [picture.name for picture, there in zip(subject.pictures, share.tolist(), strict=True) if there < LEAST]


def _segment(segmenter: Segmenter, subject: Subject, size: int) -> Tensor:
    """[n, 1, size, size]: 1 where the segmenter gives the subject a probability above 0.5."""
    return (segmenter(subject.tensor(size)) > 0.5).float()[:, None]


def background_masks(base: Base, subject: Subject) -> Tensor:
    """[n, 1, H, W]: 1 outside of the subject.

    base: the base
    subject: the subject
    """
    return 1 - subject_masks(base, subject)


def face_masks(base: Base, subject: Subject) -> Tensor:
    """[n, 1, H, W] in [0, 1]: the faces of a subject's pictures.

    They are the masks that came with the pictures; else ellipses in the boxes of the largest faces that the base's
    networks find, forehead to chin; and on a base without such networks, `subject_masks`. Raises `InputError` for a
    picture without a face.

    base: the base
    subject: the subject with its pictures
    """
    masks = _faces(base, subject)
    bare = [p.name for p, there in zip(subject.pictures, masks.flatten(1).any(1).tolist(), strict=True) if not there]
    if bare:
        raise InputError(
            f"no face of {subject.name} was found on {', '.join(bare)}: leave out pictures that do not show it, or put "
            "a mask beside every picture (NAME.mask.png, white where the face is)"
        )
    return masks


def masks_around_faces(base: Base, subject: Subject) -> Tensor:
    """[n, 1, H, W] in [0, 1]: 1 outside of each picture's face, and everywhere where a picture shows none.

    base: the base
    subject: the subject with its pictures
    """
    return 1 - _faces(base, subject)


def _faces(base: Base, subject: Subject) -> Tensor:
    """[n, 1, H, W]: masks of faces; a picture without a face has an empty one."""
    import numpy as np
    import torch
    from PIL import Image

    given, networks = subject.masks(base.picture_size), base.capabilities.faces
    if given is not None:
        return given
    if networks is None:
        return subject_masks(base, subject)
    masks = []
    for pixels in subject.tensor(base.picture_size):
        image = Image.fromarray((255 * pixels).round().byte().permute(1, 2, 0).numpy())
        largest = max(networks.find(image), key=lambda face: face.height * face.width, default=None)
        masks.append(_ellipse(largest.box, image.width) if largest else np.zeros((image.height, image.width)))
    return torch.from_numpy(np.stack(masks)).float()[:, None]


def _ellipse(box: tuple[float, float, float, float], size: int) -> Any:
    """An array [size, size] of 0 and 1: the ellipse that fills a box of pixels."""
    import numpy as np

    left, top, right, bottom = box
    place = np.arange(size) + 0.5
    across = (2 * place - left - right) / max(right - left, 1.0)
    down = (2 * place - top - bottom) / max(bottom - top, 1.0)
    return (across[None] ** 2 + down[:, None] ** 2 <= 1).astype(float)


def propagated_masks(base: Base, subject: Subject) -> Tensor:
    """[n, 1, h, w]: the first picture's mask, propagated to the others by features (Sec. 3.1 of arXiv:2305.03048).

    A position is the subject's where its features are nearer to the first picture's foreground than to its background:
    one-shot matching as in PerSAM, with the denoiser's features in place of SAM's. Nearness is the mean cosine
    similarity to the NEIGHBOURS nearest positions of each.

    base: the base
    subject: the subject with its pictures
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
    masks = (like > 0).float().view(-1, 1, *size).cpu()
    return torch.cat([first.float(), masks[1:]])


def _first(subject: Subject) -> Subject:
    from dataclasses import replace

    return replace(subject, pictures=subject.pictures[:1])
