"""Predictions that are like their own targets, beyond the squared error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.core.recipe import Objective

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Step
    from limner.core.recipe import Source


def noise_contrast(source: Source, *, temperature: float = 0.5) -> Objective:
    """NT-Xent (Eq. 1 of arXiv:2002.05709) of every channel of predictions and targets, a row's prediction and target
    being its two views, all others of the batch negatives; the mean over channels (arXiv:2307.08585). A batch of one
    has no negatives, and its value is 0.

    source: batches of two pictures or more
    temperature: what cosines are divided by
    """

    def value(step: Step) -> Tensor:
        return contrasted(step.prediction.output.float(), step.target.float(), temperature)

    return Objective(f"noise contrast({source.name})", source, value, across=True)


def contrasted(output: Tensor, target: Tensor, temperature: float) -> Tensor:
    """The mean NT-Xent over channels.

    output: [B, C, h, w]
    target: [B, C, h, w]
    temperature: what cosines are divided by
    """
    import torch
    import torch.nn.functional as F

    views = F.normalize(torch.cat([output, target]).flatten(2), dim=-1).transpose(0, 1)  # [C, 2 B, h * w]
    count = len(output)
    itself = torch.eye(2 * count, dtype=torch.bool, device=views.device)
    logits = (views @ views.mT / temperature).masked_fill(itself, float("-inf"))
    other = (torch.arange(2 * count, device=views.device) + count) % (2 * count)
    return F.cross_entropy(logits.flatten(0, 1), other.repeat(len(logits)))


def noise_cosine(source: Source) -> Objective:
    """1 - cosine of every channel of predictions and targets, the mean over channels and rows (arXiv:2307.08585).

    source: batches
    """

    def value(step: Step) -> Tensor:
        import torch

        output, target = step.prediction.output.float().flatten(2), step.target.float().flatten(2)
        return (1 - torch.cosine_similarity(output, target, dim=-1)).mean()

    return Objective(f"noise cosine({source.name})", source, value)


def face_distance(source: Source) -> Objective:
    """The mean absolute difference between the face embeddings of the picture that the estimate of x_0 decodes to and
    of the row's first reference. Pictures without a face do not count. The gradient passes decoder and recogniser.

    source: batches with references
    """

    def value(step: Step) -> Tensor:
        import torch

        from limner.parts.encoders.faces import face_embedding

        base, references = step.adapted.base, step.batch.references
        assert references is not None
        embeddings = face_embedding(base, base.decode(step.x0, clamp=False).float())
        with torch.no_grad():
            wanted = face_embedding(base, references.first.float().to(embeddings.device)).to(embeddings)
            there = ((embeddings.norm(dim=-1) > 0) & (wanted.norm(dim=-1) > 0)).to(embeddings)
        mean: Tensor = ((embeddings - wanted).abs().mean(-1) * there).sum() / there.sum().clamp_min(1)
        return mean

    return Objective(f"face distance({source.name})", source, value, across=True)
