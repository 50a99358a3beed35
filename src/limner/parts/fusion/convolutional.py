"""Details of pictures by learned convolutions, for `local_attention` (Kim et al., Electronics 12(22):4707)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base

    from .local_attention import Details


@dataclass(frozen=True)
class details_of_pixels:
    """Pictures with the subject's mask [B, R, 4, size, size] -> details [B, R * M, D].

    They come from a pyramid of convolutions of stride 2; its last two levels are the details, each position as wide as
    the text-encoder hidden states, and zero outside the subject. The background is made plain before the first
    convolution.

    widths: channels of each level, multiples of 8
    """

    widths: tuple[int, ...] = (24, 48, 80, 96)

    def __call__(self, base: Base, shape: tuple[int, ...], generator: Generator) -> tuple[dict[str, Tensor], Details]:
        import torch

        start: dict[str, Tensor] = {}
        before = 4
        for level, width in enumerate(self.widths):
            weight = torch.randn(width, before, 3, 3, generator=generator) * (2 / (9 * before)) ** 0.5
            start |= {f"level.{level}": weight, f"level.{level}.bias": torch.zeros(width)}
            before = width
        for level in self._detail_levels:
            width = self.widths[level]
            start[f"out.{level}"] = torch.randn(base.attended_width, width, generator=generator) / width**0.5
        return start, self._details

    @property
    def _detail_levels(self) -> tuple[int, ...]:
        return tuple(range(len(self.widths)))[-2:]

    def _details(self, own: Mapping[str, Tensor], seen: Tensor) -> Tensor:
        import torch
        import torch.nn.functional as F

        pixels, where = seen.flatten(0, 1).split((3, 1), 1)
        x, details = torch.cat([(2 * pixels - 1) * where, where], 1), []
        for level in range(len(self.widths)):
            x = F.conv2d(x, own[f"level.{level}"], own[f"level.{level}.bias"], stride=2, padding=1)
            x = F.gelu(F.group_norm(x, 8))
            if level in self._detail_levels:
                states = F.linear(x.flatten(2).mT, own[f"out.{level}"])
                details.append(states * F.adaptive_avg_pool2d(where, (x.shape[2], x.shape[3])).flatten(2).mT)
        return torch.cat(details, 1).unflatten(0, seen.shape[:2]).flatten(1, 2)
