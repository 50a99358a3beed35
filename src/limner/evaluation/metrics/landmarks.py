"""A metric of pose: whether the head follows the prompt, or repeats a training picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.evaluation.metrics import metric

if TYPE_CHECKING:
    from torch import Tensor


@metric(
    encoder="landmarks", source="ours: distance to the nearest training pose, as a share of it and that to the prompt's"
)
def landmark_freedom(pictures: Tensor, training: Tensor, answers: Tensor) -> Tensor:
    """1 where the landmarks lie as in a true answer to the prompt, 0 where they lie as in a training picture. [N] in
    [0, 1]

    Features are landmarks [N, 2 K] relative to their mean, in units of their root mean square distance from it;
    `answers` are those of a ground-truth render for each picture.
    """
    from_training = (pictures[:, None] - training[None]).norm(dim=-1).amin(1)
    from_answer = (pictures - answers).norm(dim=-1)
    return from_training / (from_training + from_answer).clamp_min(1e-6)
