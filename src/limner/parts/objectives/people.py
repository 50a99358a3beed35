"""Identity of people: in predicted pictures, and in features that distinguish people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.core.recipe import Objective

from .contrast import missed

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Step
    from limner.core.recipe import Source


def same_person(source: Source, *, until: float = 1.0, most: int = 4) -> Objective:
    """Mean of 1 - cosine of face embeddings of the decoded estimate of x_0 and of the row's first reference.

    Rows count at times up to `until`. The gradient passes decoder and face recogniser. Rows without references, and
    those without a detected face, do not count.

    source: batches with references
    until: share of the time, from clean pictures on, in which it counts, from 0 to 1: a blurred x_0 shows no face
    most: largest number of rows that are decoded, the first ones that count
    """

    def value(step: Step) -> Tensor:
        import torch

        from limner.parts.encoders.faces import face_embedding

        base, references = step.adapted.base, step.batch.references
        assert references is not None
        early = (step.time <= until * base.num_train_times) & references.on.to(step.time.device)
        rows = early.nonzero().flatten()[:most]
        if not len(rows):
            return step.prediction.output.new_zeros(())
        embeddings = face_embedding(base, base.decode(step.x0[rows]).float())
        with torch.no_grad():
            wanted = face_embedding(base, references.first[rows.to(references.pixels.device)].float()).to(embeddings)
            there = ((embeddings.norm(dim=-1) > 0) & (wanted.norm(dim=-1) > 0)).to(embeddings)
        apart = (1 - torch.cosine_similarity(embeddings, wanted, dim=-1)) * there
        mean: Tensor = apart.sum() / there.sum().clamp_min(1)
        return mean

    return Objective(f"same person({source.name})", source, value, across=True)


def recognition(source: Source, features: str, *, temperature: float = 0.1) -> Objective:
    """Supervised contrast of kept features: each row with other pictures of its subject, against other subjects.

    Source: Eq. 2 of arXiv:2004.11362.

    source: batches with several rows of each subject (`alike` of `pairs`)
    features: name under which the run kept them, [rows, D]
    temperature: divisor of the cosines, above 0
    """

    def value(step: Step) -> Tensor:
        import torch
        import torch.nn.functional as F

        run, shown = step.prediction.run, step.batch.references
        assert run is not None
        assert shown is not None
        assert shown.identity is not None
        unit = F.normalize(run.activations[features][step.prediction.rows].float(), dim=-1)
        whose, itself = shown.identity.to(unit.device), torch.eye(len(unit), dtype=torch.bool, device=unit.device)
        right = (whose[:, None] == whose) & ~itself
        with torch.autocast(unit.device.type, enabled=False):
            logits = (unit @ unit.T / temperature).masked_fill(itself, float("-inf"))
        return missed(logits, right)

    return Objective(f"recognition({source.name})", source, value, across=True)
