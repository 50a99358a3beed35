"""Metrics of a whole set of pictures: distance from real ones, diversity, sensitivity to the prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from limner.errors import InputError
from limner.evaluation.metrics import metric

if TYPE_CHECKING:
    from torch import Tensor


@metric(
    encoder="judge", better="lower", source="Fréchet inception distance (arXiv:1706.08500) on this encoder's features"
)
def fid(pictures: Tensor, real: Tensor) -> Tensor:
    """Fréchet distance of the Gaussians fitted to two sets. []; of little worth below some 2,000 pictures

    Not comparable between encoders, and only with Inception's features to published figures.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    return _distance(FrechetInceptionDistance(feature=_given(pictures), normalize=True), pictures, real)


@metric(encoder="judge", better="lower", source="kernel inception distance (arXiv:1801.01401), cubic kernel, unbiased")
def kid(pictures: Tensor, real: Tensor) -> Tensor:
    """Maximum mean discrepancy of two sets. []; unbiased, so fit for small ones"""
    import torch

    x, y = pictures.double(), real.double()
    if min(len(x), len(y)) < 2:
        raise InputError("KID needs two pictures at least in either set")
    k = [((a @ b.T) / a.shape[1] + 1) ** 3 for a, b in ((x, x), (y, y), (x, y))]
    n, m = len(x), len(y)
    same = [(k[i].sum() - k[i].diagonal().sum()) / (c * (c - 1)) for i, c in enumerate((n, m))]
    return torch.as_tensor(same[0] + same[1] - 2 * k[2].mean()).float()


@metric(encoder="judge", source="inception score (arXiv:1606.03498, Sec. 4) on this classifier")
def inception_score(logits: Tensor) -> Tensor:
    """exp of the mean divergence of what is seen in each picture from what is seen in all. [] from 1 to the classes"""
    log = logits.double().log_softmax(-1)
    return (log.exp() * (log - log.exp().mean(0).log())).sum(-1).mean().exp().float()


@metric(encoder="dino", source="mean of 1 - cosine over the pairs of one prompt (DreamBooth's DIV, features for LPIPS)")
def diversity(pictures: Tensor, groups: Tensor) -> Tensor:
    """How unlike each other the pictures of one prompt are. [], mean over prompts with two pictures or more"""
    import torch
    from torch.nn.functional import normalize

    distances = []
    for rows in _by_group(normalize(pictures, dim=-1), groups):
        if len(rows) > 1:
            near = rows @ rows.T
            distances.append(1 - (near.sum() - near.diagonal().sum()) / (len(rows) * (len(rows) - 1)))
    if not distances:
        raise InputError("diversity needs two pictures of one prompt at least")
    return torch.stack(distances).mean()


@metric(encoder="dino", source="Vendi score (arXiv:2210.02410, Eq. 3), cosine kernel")
def vendi(pictures: Tensor) -> Tensor:
    """The effective number of different pictures. [] from 1 to N"""
    import torch
    from torch.nn.functional import normalize

    x = normalize(pictures.double(), dim=-1)
    values = torch.linalg.eigvalsh(x @ x.T / len(x)).clamp_min(1e-12)
    return (-(values * values.log()).sum()).exp().float()


@metric(encoder="dino", source="ours: eta squared of the prompt, its floor of chance (P-1)/(N-1) removed")
def prompt_sensitivity(pictures: Tensor, groups: Tensor) -> Tensor:
    """Share of the features' variance that the prompt explains. [] at most 1; about 0 when prompts change nothing"""
    import torch

    x = pictures.double()
    parts = _by_group(x, groups)
    if not 1 < len(parts) < len(x):
        raise InputError("prompt sensitivity needs two prompts at least, and two pictures of one of them")
    within = torch.stack([((p - p.mean(0)) ** 2).sum() for p in parts]).sum()
    total = ((x - x.mean(0)) ** 2).sum()
    floor = (len(parts) - 1) / (len(x) - 1)
    eta = torch.where(total > 1e-9, 1 - within / total.clamp_min(1e-9), floor)
    return ((eta - floor) / (1 - floor)).float()


def _by_group(rows: Tensor, groups: Tensor) -> list[Tensor]:
    return [rows[groups == k] for k in groups.unique()]


def _given(like: Tensor) -> Any:
    """An "extractor" for torchmetrics that is handed features, so that nothing is computed or downloaded twice."""
    from torch import nn

    class Features(nn.Module):
        num_features = like.shape[1]

        def forward(self, x: Tensor) -> Tensor:
            return x

    return Features()


def _distance(measure: Any, pictures: Tensor, real: Tensor) -> Tensor:
    if min(len(pictures), len(real)) < 2:
        raise InputError("FID needs two pictures at least in either set")
    measure.set_dtype(pictures.double().dtype)
    measure.update(real.double(), real=True)
    measure.update(pictures.double(), real=False)
    distance: Tensor = measure.compute().float()
    return distance
