"""Is it the subject? Cosines to real pictures of it; held-out ones, since those learned from overestimate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.evaluation.metrics import metric

if TYPE_CHECKING:
    from torch import Tensor

_DREAMBOOTH = "mean pairwise cosine to all references (DreamBooth, arXiv:2208.12242, Sec. 4.1)"


def similarity(pictures: Tensor, references: Tensor) -> Tensor:
    """Mean over the references of the cosine to each. [N] in [-1, 1]"""
    from torch.nn.functional import normalize

    return (normalize(pictures, dim=-1) @ normalize(references, dim=-1).T).mean(-1)


@metric(encoder="clip", source=_DREAMBOOTH)
def clip_i(pictures: Tensor, references: Tensor) -> Tensor:
    """Likeness as CLIP sees it. [N]"""
    return similarity(pictures, references)


@metric(encoder="dino", source=_DREAMBOOTH)
def dino_i(pictures: Tensor, references: Tensor) -> Tensor:
    """Likeness as a self-supervised ViT sees it. [N]"""
    return similarity(pictures, references)


@metric(encoder="dinov2", source=_DREAMBOOTH)
def dinov2_i(pictures: Tensor, references: Tensor) -> Tensor:
    """Likeness as DINOv2 sees it. [N]"""
    return similarity(pictures, references)


@metric(encoder="clip", masked=True, source=_DREAMBOOTH + ", the subject alone")
def clip_i_masked(pictures: Tensor, references: Tensor) -> Tensor:
    """Likeness as CLIP sees it, backgrounds greyed. [N]"""
    return similarity(pictures, references)


@metric(encoder="dino", masked=True, source=_DREAMBOOTH + ", the subject alone")
def dino_i_masked(pictures: Tensor, references: Tensor) -> Tensor:
    """Likeness as a self-supervised ViT sees it, backgrounds greyed. [N]"""
    return similarity(pictures, references)


@metric(encoder="dinov2", masked=True, source=_DREAMBOOTH + ", the subject alone")
def dinov2_i_masked(pictures: Tensor, references: Tensor) -> Tensor:
    """Likeness as DINOv2 sees it, backgrounds greyed. [N]"""
    return similarity(pictures, references)


@metric(encoder="identity", source="ours: cosine of a network trained to tell individuals of one class apart")
def identity(pictures: Tensor, references: Tensor) -> Tensor:
    """Likeness as a network sees it that was trained to tell one individual from others of its class. [N]"""
    return similarity(pictures, references)


@metric(
    encoder="face",
    source="FaceNet identity of the largest face, 0 where there is none (FastComposer, arXiv:2305.10431)",
)
def face_identity(pictures: Tensor, references: Tensor) -> Tensor:
    """Likeness of the largest face; 0 for a picture without one, never below 0. [N] in [0, 1]

    An encoder of faces returns a row of zeros where it finds no face.
    """
    return similarity(pictures, references).clamp_min(0)


@metric(encoder="identity", source="rank-1 retrieval in a gallery of the same class (arXiv:2512.19026)")
def retrieval(pictures: Tensor, references: Tensor, gallery: Tensor) -> Tensor:
    """1 where the nearest of the subject's references and others' real pictures is the subject's. [N]

    Chance is the references' share of all.
    """
    from torch.nn.functional import normalize

    own, others = (normalize(x, dim=-1) for x in (references, gallery))
    seen = normalize(pictures, dim=-1)
    return ((seen @ own.T).amax(-1) > (seen @ others.T).amax(-1)).float()
