"""The person known again: the recogniser's word on what is predicted, with gradients through decoder and recogniser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.core.recipe import Objective
from limner.parts.encoders.faces import face_embedding

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Step
    from limner.core.recipe import Source


def face_identity(source: Source, *, below: float = 1.0, to: str = "reference") -> Objective:
    """1 - cosine between the recogniser's embeddings of the picture that the estimate of x_0 decodes to and of the
    person, over the rows at times of at most `below` of all (Eq. 6 of arXiv:2312.06354, tau; ID-Aligner's identity
    reward, arXiv:2404.15449, without its sampling). 0 where no row counts: noisier rows say nothing of a face.

    The gradient goes through decoder and recogniser, so the source's batches should be small.

    Arguments:
        source: batches of faces
        below: share of the times that count, from 0 to 1
        to: "reference", each row's first, or "picture", the one that is learned from
    """
    if not 0 < below <= 1:
        raise ValueError(f"a share of the times that count is from 0 to 1, not {below}")
    if to not in ("reference", "picture"):
        raise ValueError(f"the person is looked at in the 'reference' or the 'picture', not {to!r}")

    def value(step: Step) -> Tensor:
        import torch

        base = step.adapted.base
        rows = step.time <= below * base.num_train_times
        if not rows.any():
            return step.prediction.output.sum() * 0
        references = step.batch.references
        if to == "reference":
            assert references is not None
            rows = rows & references.on.to(rows.device)
        with torch.no_grad():
            known = (
                references.first if to == "reference" and references is not None else base.decode(step.batch.latents)
            )
            person = face_embedding(base, known)
        found = face_embedding(base, base.decode(step.x0))
        apart = 1 - (found * person.to(found)).sum(-1)
        return (apart * rows).sum() / rows.sum().clamp_min(1)

    return Objective(f"face identity({source.name})", source, value, across=True)
