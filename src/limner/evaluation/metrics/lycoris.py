"""The five dimensions of LyCORIS' evaluation (arXiv:2309.14859, Sec. 4 and its evaluation code).

Fidelity is `likeness_to_training` and `centroid_distance`; controllability `described`; diversity `vendi` by prompt
(`vendi_by_prompt`); base-model preservation `style_drift`; image quality `quality`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.evaluation.metrics import metric

from .alignment import clip_t
from .distribution import vendi
from .fidelity import similarity

if TYPE_CHECKING:
    from torch import Tensor


@metric(encoder="dino", source="LyCORIS, fidelity: mean cosine to the training images")
def likeness_to_training(pictures: Tensor, training: Tensor) -> Tensor:
    """Likeness to what was learned from; higher for copies than for good likenesses. [N]"""
    return similarity(pictures, training)


@metric(encoder="dino", better="lower", source="LyCORIS, fidelity: distance of the centroids of both sets")
def centroid_distance(pictures: Tensor, training: Tensor) -> Tensor:
    """Euclidean distance of the mean unit features of painted and training pictures. [] in [0, 2]"""
    from torch.nn.functional import normalize

    return (normalize(pictures, dim=-1).mean(0) - normalize(training, dim=-1).mean(0)).norm()


@metric(
    encoder="clip",
    source="LyCORIS, controllability: the trigger word replaced by words that describe the subject",
    name="described",
)
def description_alignment(pictures: Tensor, described_texts: Tensor) -> Tensor:
    """Cosine of a picture and its prompt with the handle said as the subject's looks. [N]"""
    return clip_t(pictures, described_texts)


@metric(encoder="dino", source="LyCORIS, diversity: Vendi score of the pictures of each prompt, mean over prompts")
def vendi_by_prompt(pictures: Tensor, groups: Tensor) -> Tensor:
    """The effective number of different pictures of one prompt. []"""
    import torch

    return torch.stack([vendi(pictures[groups == k]) for k in groups.unique()]).mean()


@metric(
    encoder="gram", better="lower", source="LyCORIS, preservation: Gram matrices (arXiv:1508.06576, Eq. 3) for VGG-19's"
)
def style_drift(before: Tensor, after: Tensor) -> Tensor:
    """Mean squared difference of the Gram matrices of pictures of prompts without the subject. [K]"""
    return (before - after).square().mean(-1)


@metric(
    encoder="quality", source="LyCORIS, image quality: a no-reference judge's score, here any encoder of one number"
)
def quality(pictures: Tensor) -> Tensor:
    """How good the pictures are as pictures. [N]; on toys, how sure the judge is of class and scene, in [0, 1]"""
    return pictures.squeeze(-1)
