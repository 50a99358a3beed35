"""The shading aggregation controller (MIGC, arXiv:2402.05408): weights of several shadings at each position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, Tensor

REDUCTION = 16
KERNEL = 7


def aggregation_start(width: int, slots: int, generator: Generator) -> dict[str, Tensor]:
    """Parameters of `aggregated` at their start, at which a shading counts more inside of its mask.

    width: width C of the shadings
    slots: places for the background, the template and the instances
    generator: draws the random weights
    """
    import torch

    def matrix(out: int, into: int) -> Tensor:
        return torch.randn(out, into, generator=generator) / into**0.5

    first = matrix(width, width + 1)
    first[:, -1] = 1.0  # the mask's column
    start = {"join": first, "join.bias": torch.zeros(width)}
    start |= {"score": torch.full((1, width), 8.0 / width) + 0.1 * matrix(1, width), "score.bias": torch.zeros(1)}
    for name, channels, inner in (("channels", width, max(1, width // REDUCTION)), ("slots", slots, slots)):
        start |= {f"{name}.first": matrix(inner, channels), f"{name}.first.bias": torch.zeros(inner)}
        start |= {f"{name}.second": matrix(channels, inner), f"{name}.second.bias": torch.zeros(channels)}
        start[f"{name}.place"] = torch.randn(1, 2, KERNEL, KERNEL, generator=generator) / (2 * KERNEL**2) ** 0.5
    return start


def aggregated(
    shadings: Sequence[Tensor], masks: Sequence[Tensor], own: Mapping[str, Tensor], *, slots: int, order: Tensor
) -> tuple[Tensor, Tensor]:
    """The weighted mean [B, N, C] of shadings, and the weights [B, S, N, 1], which sum to 1 at every position.

    A convolution joins each shading with its mask; channel and spatial gates (CBAM, arXiv:1807.06521) and a second
    convolution make its score. The scores of background, instances and template then pass gates over all slots, in
    which empty slots stand among the instances, in a random order; a softmax over those that are there is the weights
    (migc_arch.py of the authors of arXiv:2402.05408).

    shadings: [B, N, C] of the background, of each instance, and of the template
    masks: [B, N, 1] of each
    own: parameters, named as by `aggregation_start`
    slots: number of slots
    order: a permutation of the slots of instances [slots - 2]
    """
    import torch
    import torch.nn.functional as F

    stacked = torch.stack([*shadings, torch.zeros_like(shadings[0])], 1)  # [B, S + 1, N, C]; the last is an empty slot
    joined = torch.cat([stacked, torch.stack([*masks, torch.zeros_like(masks[0])], 1)], -1)
    rows, count, places, _ = joined.shape
    side = round(places**0.5)
    features = F.linear(joined, own["join"], own["join.bias"])
    maps = features.flatten(0, 1).mT.unflatten(2, (side, side))  # [B * (S + 1), C, h, w]
    maps = gated(maps, own, "channels")
    scores = F.linear(maps.flatten(2).mT, own["score"], own["score.bias"]).view(rows, count, side, side)
    background, instances, template, empty = scores.split([1, count - 3, 1, 1], 1)
    padding = empty.expand(-1, slots - 2 - instances.shape[1], -1, -1)
    shuffled = torch.cat([instances, padding], 1)[:, order.to(scores.device)]
    every = gated(torch.cat([background, shuffled, template], 1), own, "slots")  # [B, slots, h, w]
    back = every[:, 1:-1][:, order.argsort().to(scores.device)][:, : instances.shape[1]]
    chosen = torch.cat([every[:, :1], back, every[:, -1:]], 1)
    weights = chosen.softmax(1).flatten(2)[..., None]  # [B, S, N, 1]
    return (weights * stacked[:, :-1]).sum(1), weights


def gated(maps: Tensor, own: Mapping[str, Tensor], name: str) -> Tensor:
    """[B, C, h, w] after a gate for each channel and one for each position (CBAM, arXiv:1807.06521).

    maps: [B, C, h, w]
    own: parameters
    name: beginning of their names
    """
    import torch
    import torch.nn.functional as F

    def perceptron(pooled: Tensor) -> Tensor:
        inner = F.relu(F.linear(pooled, own[f"{name}.first"], own[f"{name}.first.bias"]))
        return F.linear(inner, own[f"{name}.second"], own[f"{name}.second.bias"])

    channels = (perceptron(maps.mean((2, 3))) + perceptron(maps.amax((2, 3)))).sigmoid()
    maps = maps * channels[:, :, None, None]
    pooled = torch.cat([maps.amax(1, keepdim=True), maps.mean(1, keepdim=True)], 1)
    return maps * F.conv2d(pooled, own[f"{name}.place"], padding=KERNEL // 2).sigmoid()
