"""How near a painted picture is to the subject's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.core.adapted import Candidates

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Adapted, Modifier
    from limner.parts.encoders.looks import Encoder


def nearest(count: int, encoder: Encoder, modifier: Modifier, name: str) -> Candidates | None:
    """Of `count` candidates the one whose embedding has the largest cosine with the subject's, which `modifier` has stored as
    the tensor [1, …, D] called `name`, the mean over the subject's pictures. Of one candidate there is nothing to choose."""

    def nearness(adapted: Adapted, pixels: Tensor) -> Tensor:
        import torch

        own = adapted.live[modifier].tensors[name].flatten(0, -2).mean(0, keepdim=True)
        found: Tensor = torch.cosine_similarity(encoder(adapted.base, pixels).float(), own.float(), dim=-1)
        return found

    return Candidates(count, nearness) if count > 1 else None
