"""A low-rank change kept away from the weights that earlier ones changed (C-LoRA, arXiv:2304.06027)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from limner.core.recipe import Objective

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.adapted import Adapted, Step
    from limner.core.recipe import Source
    from limner.parts.modifiers.low_rank import low_rank


def self_regularised(source: Source, change: low_rank, earlier: Sequence[low_rank]) -> Objective:
    """||(sum over k < n of B_k A_k) * (B_n A_n)||^2, element by element, summed over layers.

    Source: the loss against forgetting of C-LoRA (Eq. 3 of arXiv:2304.06027).
    Weights that earlier changes moved far are expensive to move again; weights that they left alone are free. Only the
    new change has a gradient.

    source: gives step and random stream
    change: the new change
    earlier: the changes of subjects learned before, in the same layers
    """

    def value(step: Step) -> Tensor:
        import torch

        new = products(step.adapted, change)
        with torch.no_grad():
            before = [products(step.adapted, each) for each in earlier]
            sums = {layer: torch.stack([each[layer] for each in before]).sum(0) for layer in new}
        return torch.stack([(sums[layer] * new[layer]).square().sum() for layer in new]).sum()

    return Objective(f"self-regularised({source.name})", source, value, any_target=True)


def products(adapted: Adapted, change: low_rank) -> dict[str, Tensor]:
    """The change of every layer's weight, (alpha / rank) B A [out, in * kernel], by the layer's name.

    adapted: the base with the change attached
    change: the low-rank change
    """
    tensors, factor = adapted.live[change].tensors, (change.alpha or change.rank) / change.rank
    layers = [name.removesuffix(".down") for name in tensors if name.endswith(".down")]
    return {
        layer.removeprefix(f"{change.name}."): factor
        * (tensors[f"{layer}.up"].flatten(1).float() @ tensors[f"{layer}.down"].flatten(1).float())
        for layer in layers
    }
