"""Stellar's six (arXiv:2312.06116). Two of its formulas were never published; ours stand in and say so.

Identity preservation is `face_identity` with the best face of several; here are the other five.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.evaluation.metrics import metric

from .alignment import clip_t

if TYPE_CHECKING:
    from torch import Tensor

SOFTNESS = 0.05


@metric(encoder="clip", source="ours, in the place of Stellar's soft-penalised CLIP")
def soft_penalised_clip(pictures: Tensor, texts: Tensor, training: Tensor) -> Tensor:
    """Agreement with the prompt, taken away softly where the picture is a copy of a training picture. [N]

    clip_t times the logistic function of (mean cosine between two training pictures + two softnesses - cosine to the
    nearest one) / SOFTNESS: nothing is lost by being as alike as the references are to each other, all by copying one.
    """
    from torch.nn.functional import normalize

    real = normalize(training, dim=-1)
    near = (normalize(pictures, dim=-1) @ real.T).amax(-1)
    between = real @ real.T
    count = len(real)
    usual = (
        (between.sum() - between.diagonal().sum()) / max(count * (count - 1), 1)
        if count > 1
        else between.new_tensor(0.8)
    )
    return clip_t(pictures, texts) * ((usual + 2 * SOFTNESS - near) / SOFTNESS).sigmoid()


@metric(encoder="attributes", source="Stellar, attribute preservation: share of lasting attributes read alike")
def attribute_preservation(pictures: Tensor, references: Tensor) -> Tensor:
    """Share of attributes on which the picture reads as most references do. [N] in [0, 1]

    Features are probabilities of yes-or-no attributes [N, A]; a row that is not a number (no face) counts as wrong.
    """
    wanted = (references > 0.5).float().mean(0) > 0.5
    read = (pictures > 0.5) == wanted
    return (read & ~pictures.isnan()).float().mean(-1)


@metric(encoder="face", source="Stellar, stability of identity: the least identity over the subject's real pictures")
def identity_stability(pictures: Tensor, references: Tensor) -> Tensor:
    """Likeness to the reference that it is least like. [N] in [0, 1]"""
    from torch.nn.functional import normalize

    return (normalize(pictures, dim=-1) @ normalize(references, dim=-1).T).amin(-1).clamp_min(0)


@metric(encoder="detector", source="Stellar, grounding objects accuracy: mean best score of every object asked for")
def grounding_accuracy(pictures: Tensor) -> Tensor:
    """How surely the objects asked for are there. [N] in [0, 1]

    Features are a detector's best score of each object asked for [N, K]; objects not asked for are not a number.
    """
    return pictures.nanmean(-1)


@metric(
    encoder="relations",
    source="ours, in the place of Stellar's relation fidelity: share of relations asked for that are read",
)
def relation_fidelity(pictures: Tensor) -> Tensor:
    """Share of the (thing, relation, thing) triplets asked for that a reader finds. [N] in [0, 1]

    Features are 1 or 0 for each triplet asked for [N, K]; those not asked for are not a number.
    """
    return pictures.nanmean(-1)
