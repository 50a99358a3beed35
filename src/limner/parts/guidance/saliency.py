"""Each place of a prediction by the branch that has more to say there (Face-Diffuser, arXiv:2311.10329)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.types import Denoiser, Guidance

COARSE = 2  # latents to a side of the squares in which saliency is smoothed


def saliency_fusion(*, begin: int = 700, end: int = 400, scene: str = "plain", before: str = "plain") -> Guidance:
    """First the scene, last the subject, and in between at every place the one of the two that is the more salient
    there.

    Saliency is the softmax over all places of what guidance adds, |w (scene - negative)| and |w (text - before)|,
    smoothed and averaged over channels; its larger one takes the place, so that no place is a mixture (Eq. 6 to 9 and
    the authors' pipeline, which shrinks 64 x 64 latents and grows them again for smoothing, and whose steps 15 and 30
    of 50 are the times 700 and 400).

    begin: the last time, of 1000, of the scene alone
    end: the last time of both
    scene: the branch that paints the scene; another network's where the recipe has one
    before: what the subject's branch is guided away from: its own network's reading of the plain text
    """
    if not 0 <= end <= begin <= 1000:
        raise InputError(f"the scene ends at time {begin} and both at {end}: expected 1000 >= begin >= end >= 0")

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
            found = dict(zip(names, denoise(x, t, branches=names), strict=True))
            of_scene, of_subject = w * (found[scene] - found["negative"]), w * (found["text"] - found[before])
            subject = salience(of_subject) > salience(of_scene)
            return (torch.where(subject, found[before] + of_subject, found["negative"] + of_scene),)

        return guided

    return guidance


def salience(added: Tensor) -> Tensor:
    """[B, C, h, w] -> [B, 1, h, w], which sums to 1 over places."""
    import torch.nn.functional as F

    small = F.avg_pool2d(added.abs(), COARSE, ceil_mode=True)
    smooth = F.interpolate(small, added.shape[-2:], mode="bilinear", align_corners=False).mean(1, keepdim=True)
    return smooth.flatten(1).softmax(-1).view_as(smooth)
