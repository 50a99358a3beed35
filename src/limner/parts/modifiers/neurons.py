"""Concept neurons: weights set to zero, with nothing else of the network changed (Cones, arXiv:2303.05125)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from limner.core.types import Live
from limner.errors import InputError

from .parameters import taken
from .weight_changes import in_place_of

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base


@dataclass(frozen=True)
class concept_neurons:
    """W' = M * W with a learned mask M over a set of layers, 1 at first (Eq. 5 of arXiv:2303.05125).

    Training uses M as it is. In sampling, the weights with the smallest values in each layer's M are exactly 0, and
    every other weight is the base's. A weight whose mask did not fall below 1 stays, so an untrained concept is the
    base. Raises `InputError` for a share out of range.

    layers: a set that the base names, "cross_attention_kv" or "attention"
    share: largest share of each layer's weights set to zero, above 0 and below 1
    """

    layers: str = "cross_attention_kv"
    share: float = 0.02

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        import torch

        if not 0 < self.share < 1:
            raise InputError(f"the share of weights to shut must be above 0 and below 1, not {self.share:g}")
        live = Live()
        with ExitStack() as stack:
            for name, layer in base.projections(self.layers).items():
                weight: Any = layer.weight
                key = f"neurons.{name}.mask"
                own = taken({key: torch.ones(weight.shape)}, stored, base, what="the mask of concept neurons")
                live.tensors |= own
                if scale:
                    before, after = in_place_of(weight, own, _masking(self, weight, key, live), scale, live)
                    stack.callback(layer.register_forward_pre_hook(before).remove)
                    stack.callback(layer.register_forward_hook(after, always_call=True).remove)
            yield live

    def shut(self, mask: Tensor) -> Tensor:
        """Weights of a layer that are set to zero: bool, in the mask's shape."""
        import torch

        count = max(1, round(self.share * mask.numel()))
        lowest = mask.flatten().kthvalue(count).values
        zeros: Tensor = (mask <= lowest) & (mask < 1)
        return (
            zeros if int(zeros.sum()) <= count else zeros & (torch.cumsum(zeros.flatten(), 0) <= count).view_as(zeros)
        )


def _masking(neurons: concept_neurons, weight: Tensor, key: str, live: Live) -> Any:
    """Mask -> the change of the weight: in training W scaled by the mask, otherwise W with the chosen weights set to
    zero."""

    def change(own: Mapping[str, Tensor]) -> Tensor:
        import torch

        mask = own[key]
        if live.run is not None and live.run.random is not None:
            return (mask - 1) * weight
        return torch.where(neurons.shut(mask), -weight, torch.zeros_like(weight))

    return change
