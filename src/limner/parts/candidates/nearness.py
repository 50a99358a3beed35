"""Candidates chosen by their similarity to the subject's pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.core.adapted import Candidates

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Adapted, Modifier
    from limner.parts.encoders.looks import Encoder


def nearest(count: int, encoder: Encoder, modifier: Modifier, name: str) -> Candidates | None:
    """The candidate whose embedding has the largest cosine with the mean of the subject's pictures; None for one
    candidate.

    count: number of candidates sampled for each picture, 1 or more
    encoder: pixels [B, 3, H, W] -> embeddings [B, D]
    modifier: stores the subject's embeddings
    name: name of their tensor [1, …, D] in the modifier
    """

    def nearness(adapted: Adapted, pixels: Tensor) -> Tensor:
        import torch

        own = adapted.live[modifier].tensors[name].flatten(0, -2).mean(0, keepdim=True)
        cosines: Tensor = torch.cosine_similarity(encoder(adapted.base, pixels).float(), own.float(), dim=-1)
        return cosines

    return Candidates(count, nearness) if count > 1 else None
