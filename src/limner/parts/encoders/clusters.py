"""Clusters of a subject's photographs, read as words."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject

WORDS = 128
"""Number of the base's words, those nearest to the class noun, that clusters are read as."""
WINDOWS = 3
"""Windows of a picture along each side; each is half as wide as the picture."""


def photo_words(subject: Subject, count: int, *, first: int = 0) -> Callable[[Base], Tensor]:
    """Base -> vectors [count, D] for tokens to start from: clusters of the photographs' windows, read as words.

    Windows are embedded by CLIP and clustered by k-means. Each centroid becomes the mean of the words near to the class
    noun, weighted by the softmax of their similarity to it. UniCTokens (arXiv:2505.14671) clusters embeddings of image
    tokens, which are of the text tokens' own table there; where text and picture have tables of their own, the words
    carry them over.

    subject: the subject with its pictures
    count: number of vectors
    first: number of clusters to leave out before them, which other tokens start from
    """

    def begin(base: Base) -> Tensor:
        import torch
        import torch.nn.functional as F

        with torch.no_grad():
            seen = F.normalize(base.picture_features(_windows(subject.tensor(base.picture_size))).float(), dim=-1)
            centres = F.normalize(k_means(seen, first + count)[first:], dim=-1)
            words, vectors = _near_words(base, subject.noun)
            parts = [base.text_features(words[start : start + 32], words={}) for start in range(0, len(words), 32)]
            texts = F.normalize(torch.cat(parts).float(), dim=-1)
            weights = (centres.to(texts) @ texts.T / 0.07).softmax(-1)
            return weights @ vectors.to(weights)

    return begin


def k_means(points: Tensor, count: int, *, rounds: int = 10) -> Tensor:
    """[count, D]: centroids by Lloyd's algorithm, the largest cluster first.

    It starts from points that are far apart (each the farthest from those before it), so that no number is drawn.
    Further centroids than there are points repeat the points.

    points: [N, D]
    count: number of centroids, 1 or more
    rounds: updates of the centroids
    """
    import torch

    points = points[torch.arange(max(len(points), count)) % len(points)]
    chosen = [int((points - points.mean(0)).norm(dim=1).argmin())]
    while len(chosen) < count:
        apart = torch.cdist(points, points[chosen]).amin(1)
        apart[chosen] = -1
        chosen.append(int(apart.argmax()))
    centres, nearest = points[chosen], torch.zeros(len(points), dtype=torch.long)
    for _ in range(rounds):
        nearest = torch.cdist(points, centres).argmin(1)
        own = torch.nn.functional.one_hot(nearest, count).to(points)  # [N, count]
        sizes = own.sum(0)[:, None]
        centres = torch.where(sizes > 0, own.T @ points / sizes.clamp_min(1), centres)
    order = torch.bincount(nearest, minlength=count).argsort(descending=True, stable=True)
    return centres[order]


def _windows(pixels: Tensor) -> Tensor:
    """[n * (WINDOWS ** 2 + 1), 3, H/2, W/2]: overlapping windows of every picture, and the picture itself, reduced."""
    import torch
    import torch.nn.functional as F

    half = pixels.shape[-1] // 2
    starts = [round(k * half / (WINDOWS - 1)) for k in range(WINDOWS)]
    parts = [pixels[..., top : top + half, left : left + half] for top in starts for left in starts]
    return torch.cat([F.interpolate(pixels, (half, half), mode="area"), *parts])


def _near_words(base: Base, noun: str) -> tuple[list[str], Tensor]:
    """The base's words nearest to a noun's vector, and their vectors [W, D]."""
    import torch
    import torch.nn.functional as F

    known = sorted(word for word in base.vocabulary if word.isalpha() and len(word) > 1) or [noun]
    vectors = torch.cat([base.word_vectors(word)[:1] for word in known])
    alike = F.normalize(vectors, dim=-1) @ F.normalize(base.word_vectors(noun).mean(0), dim=-1)
    best = alike.topk(min(WORDS, len(known))).indices
    return [known[k] for k in best.tolist()], vectors[best]
