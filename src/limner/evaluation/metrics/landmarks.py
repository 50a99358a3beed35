"""Whether the head goes where the prompt asks, or where it was in the pictures that were learned from."""

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

    Features are landmarks [N, 2 K] around their middle, in units of their spread; `answers` has a true answer for each
    picture.
    """
    from_training = (pictures[:, None] - training[None]).norm(dim=-1).amin(1)
    from_answer = (pictures - answers).norm(dim=-1)
    return from_training / (from_training + from_answer).clamp_min(1e-6)
