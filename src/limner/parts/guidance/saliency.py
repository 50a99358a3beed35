"""Each position of a prediction taken from the branch with the larger saliency (Face-Diffuser, arXiv:2311.10329)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.types import Denoiser, Guidance

COARSE = 16
"""Latents have this many times the side of the squares over which saliency is smoothed, which is at least 2."""


def saliency_fusion(*, begin: int = 700, end: int = 400, scene: str = "plain", before: str = "plain") -> Guidance:
    """First the scene alone, last the subject alone, and in between the more salient of the two at every position.

    Saliency is the softmax over positions of the change by guidance, |w (scene - negative)| and |w (text - before)|,
    smoothed and averaged over channels. Each position takes the branch with the larger one, so that none is a mixture
    (Eq. 6 to 9 of arXiv:2311.10329). The authors' pipeline smooths by the mean over 4 x 4 of 64 x 64 positions; its
    steps 15 and 30 of 50 are the times 700 and 400. Raises `InputError` for times out of order.

    begin: the last time, of 1000, of the scene alone
    end: the last time of both, from 0 to `begin`
    scene: the branch that predicts the scene; another network's where the recipe has one
    before: the branch that the subject's is guided away from: its own network with the plain text
    """
    if not 0 <= end <= begin <= 1000:
        raise InputError(
            f"the scene ends at time {begin} of 1000 and both at {end}: expected 1000 >= begin >= end >= 0; let the "
            "scene end first"
        )

    def guidance(denoise: Denoiser, w: float) -> Denoiser:
        def guided(x: Tensor, t: Tensor, *, branches: tuple[str, ...] = ("text",)) -> tuple[Tensor, ...]:
            import torch

            now = float(t[0])
            if now > begin:
                negative, words = denoise(x, t, branches=("negative", scene))
                return (negative + w * (words - negative),)
            if now <= end:
                less, text = denoise(x, t, branches=(before, "text"))
                return (less + w * (text - less),)
            names = tuple(dict.fromkeys(("negative", scene, before, "text")))
            predictions = dict(zip(names, denoise(x, t, branches=names), strict=True))
            of_scene, of_subject = (
                w * (predictions[scene] - predictions["negative"]),
                w * (predictions["text"] - predictions[before]),
            )
            subject = salience(of_subject) > salience(of_scene)
            return (torch.where(subject, predictions[before] + of_subject, predictions["negative"] + of_scene),)

        return guided

    return guidance


def salience(added: Tensor) -> Tensor:
    """[B, 1, h, w], which sums to 1 over positions.

    added: change of the prediction by guidance [B, C, h, w]
    """
    import torch.nn.functional as F

    side = max(2, added.shape[-1] // COARSE)
    means = F.avg_pool2d(added.abs().mean(1, keepdim=True), side, stride=1)
    smooth = F.interpolate(means, added.shape[-2:], mode="bilinear", align_corners=False)
    return smooth.flatten(1).softmax(-1).view_as(smooth)
