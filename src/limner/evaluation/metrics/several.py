"""Measures of several subjects in one picture: presence, identity, and leakage of one subject's looks to another.

Functions of features of each subject's region, cut out of the picture: K subjects, N pictures. They need more than one
subject's references, so they are not among the metrics of an album (`limner.evaluation.metrics`);
`limner.evaluation.several` computes them all from pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def likeness(seen: Tensor, references: Sequence[Tensor]) -> Tensor:
    """[N, K, K]: the mean cosine of the region of subject k to real pictures of subject j.

    Args:
        seen: [N, K, D], features of each subject's region.
        references: K tensors [R, D], features of each subject's real pictures.
    """
    import torch

    from .fidelity import similarity

    flat = seen.flatten(0, 1)
    cosines = torch.stack([similarity(flat, own) for own in references], -1)
    return cosines.unflatten(0, seen.shape[:2])


def own_identity(alike: Tensor) -> Tensor:
    """[N, K]: the likeness of each subject's region to that subject, out of `likeness` [N, K, K]."""
    return alike.diagonal(dim1=1, dim2=2)


LEAST_ALONE = 0.1
"""Likeness of a subject alone below which it counts as not learned."""


def consistency(alike: Tensor, alone: Tensor) -> Tensor:
    """[N, K]: each subject's likeness in its region, as a share of its likeness in pictures of itself alone; 1 is as
    good as alone. NaN for a subject whose likeness alone is below LEAST_ALONE.

    Args:
        alike: [N, K, K], result of `likeness`.
        alone: [K], likeness of the subject in pictures of itself alone.
    """
    share = own_identity(alike).clamp_min(0) / alone.clamp_min(LEAST_ALONE)
    return share.masked_fill(alone < LEAST_ALONE, float("nan"))


def leakage(alike: Tensor, apart: Tensor) -> Tensor:
    """[N]: how far subjects look like each other, the mean over all pairs of a region and another subject. 0: as little
    as their real pictures do; 1: the region of one shows the other.

    Args:
        alike: [N, K, K], result of `likeness`.
        apart: [K, K], the likeness of real pictures of subject k to those of subject j.
    """
    import torch

    own = apart.diagonal().unsqueeze(0)  # likeness of subject j to itself, by column
    share = ((alike - apart) / (own - apart).clamp_min(1e-6)).clamp(0, 1)
    others = ~torch.eye(len(apart), dtype=torch.bool, device=apart.device)
    return share[:, others].mean(1)


def swapped(alike: Tensor) -> Tensor:
    """[N] of 0 and 1: 1 where a region looks more like another subject than like its own."""
    return (alike.argmax(2) != alike.new_tensor(range(alike.shape[1])).long()).any(1).float()


def coloured_alike(pixels: Tensor, masks: Tensor) -> Tensor:
    """[N, K, bins]: the share of each colour in each subject's region, with 4 bins a channel; zeros for an empty
    region.

    Args:
        pixels: [N, 3, H, W] in [0, 1].
        masks: [N, K, H, W] in [0, 1], the regions of the subjects.
    """
    import torch
    import torch.nn.functional as F

    bins = (pixels.clamp(0, 1 - 1e-6) * 4).long()
    codes = F.one_hot(bins[:, 0] * 16 + bins[:, 1] * 4 + bins[:, 2], 64).to(pixels)  # [N, H, W, 64]
    counts = torch.einsum("nkhw,nhwc->nkc", masks.to(pixels), codes)
    return counts / counts.sum(2, keepdim=True).clamp_min(1e-6)


def colour_leakage(seen: Tensor, references: Tensor) -> Tensor:
    """[N]: share of a subject's region in colours that are another subject's and not its own; the mean over subjects.

    A colour counts where its share in the region exceeds its share in the subject's real pictures, at most by the
    amount by which another subject's share exceeds that of the subject.

    Args:
        seen: [N, K, bins], result of `coloured_alike`.
        references: [K, bins], the mean of `coloured_alike` over each subject's real pictures.
    """
    import torch

    count, shares = len(references), []
    for k in range(count):
        own = references[k]
        others = torch.stack([references[j] for j in range(count) if j != k]).amax(0)
        foreign = torch.minimum((seen[:, k] - own).clamp_min(0), (others - own).clamp_min(0))
        shares.append(foreign.sum(1) / (others - own).clamp_min(0).sum().clamp_min(1e-6))
    return torch.stack(shares).mean(0)
