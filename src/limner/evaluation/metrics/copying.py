"""Unwanted transfer beside the subject: copied training pictures, their backgrounds, drift of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.evaluation.metrics import metric

if TYPE_CHECKING:
    from torch import Tensor


@metric(encoder="dino", better="lower", source="geometric copy index of MultiID-Bench (WithAnyone, arXiv:2510.14975)")
def copy_index(pictures: Tensor, training: Tensor, held_out: Tensor) -> Tensor:
    """Nearer to a training picture (1) or to another real picture of the subject (-1), by angles. [N] in [-1, 1]

    (angle to held-out - angle to training) / angle between the two; least over held-out, greatest over training
    pictures, so that one copied picture shows.
    """
    to_held, to_training, between = _angle(pictures, held_out), _angle(pictures, training), _angle(held_out, training)
    share = (to_held[:, :, None] - to_training[:, None, :]) / between.clamp_min(1e-4)  # [N, H, R]
    return share.amax(2).amin(1).clamp(-1, 1)


@metric(
    encoder="dino",
    better="",
    source="cosine to the nearest training picture, as replication is looked for (arXiv:2212.03860)",
)
def nearest_reference(pictures: Tensor, training: Tensor) -> Tensor:
    """Cosine to the nearest training picture. [N]; 1 is a copy"""
    return _cosines(pictures, training).amax(-1)


@metric(encoder="dino", better="lower", source="ours: likeness of the backgrounds to the references', above the base's")
def background_leak(pictures_background: Tensor, training_background: Tensor, base_background: Tensor) -> Tensor:
    """How much more alike than the base's its background is to a training picture's. [N]; about 0 when nothing leaks"""
    leaked = _cosines(pictures_background, training_background).amax(-1)
    return leaked - _cosines(base_background, training_background).amax(-1).mean()


@metric(
    encoder="dino",
    better="lower",
    source="base-model preservation of LyCORIS (arXiv:2309.14859), on features for Gram matrices",
)
def drift(before: Tensor, after: Tensor) -> Tensor:
    """How far pictures of prompts without the subject moved, same seed before and after. [K] in [0, 2]"""
    from torch.nn.functional import cosine_similarity

    return 1 - cosine_similarity(before, after, dim=-1)


def _cosines(first: Tensor, second: Tensor) -> Tensor:
    from torch.nn.functional import normalize

    return normalize(first, dim=-1) @ normalize(second, dim=-1).T


def _angle(first: Tensor, second: Tensor) -> Tensor:
    return _cosines(first, second).clamp(-1, 1).arccos()
