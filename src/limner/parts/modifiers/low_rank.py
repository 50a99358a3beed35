"""Low-rank changes of linear and convolution layers (LoRA, Hu et al., arXiv:2106.09685).

The change is a forward hook beside the layer, not a wrapper around it: parameters keep their names, detaching removes
the hook, and a layer without the hook is the stock layer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from limner.core.types import Live
from limner.errors import FileError, InputError

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from limner.core.base import Base


@dataclass(frozen=True)
class low_rank:
    """W' = W + scale * (alpha / rank) B A, with B zero and A random at first (Eq. 3 of arXiv:2106.09685).

    rank: rank of the change, 1 or more
    layers: a set that the base names: "attention", "self_attention", "cross_attention", "cross_attention_kv" (its keys
        and values) or "everything"
    alpha: scale of the change is alpha / rank; None is alpha = rank
    name: prefix of its tensors' names, which distinguishes two such changes of one recipe
    """

    rank: int
    layers: str = "attention"
    alpha: float | None = None
    name: str = "low_rank"

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        if self.rank < 1:
            raise InputError(f"the rank must be at least 1, not {self.rank}")
        strength = scale * (self.alpha or self.rank) / self.rank
        live = Live()
        with ExitStack() as stack:
            for name, layer in base.projections(self.layers).items():
                factors = factors_of(f"{self.name}.{name}", layer, self.rank, stored, generator)
                live.tensors |= factors
                down, up = factors.values()
                if scale:
                    hook = beside(down, up, strength, live)
                    stack.callback(layer.register_forward_hook(hook).remove)
            yield live

    @classmethod
    @contextmanager
    def stacked(
        cls,
        base: Base,
        own: Sequence[low_rank],
        stored: Sequence[Mapping[str, Tensor]],
        generators: Sequence[Generator],
        scales: Sequence[float],
        rows: Any,
        places: Sequence[int],
    ) -> Iterator[list[Live]]:
        """The changes of several subjects: factors in stacks [subjects, …], smaller ranks padded with zeros.

        In each layer one hook multiplies every row of the run by its own subject's factors.
        """
        import torch

        lives = [Live() for _ in own]
        strong = [scale * (m.alpha or m.rank) / m.rank for m, scale in zip(own, scales, strict=True)]
        strengths = torch.tensor(strong, device=base.device)
        most, place_of = max(m.rank for m in own), {place: k for k, place in enumerate(places)}
        with ExitStack() as stack:
            for name, layer in base.projections(own[0].layers).items():
                every = [
                    factors_of(f"{m.name}.{name}", layer, m.rank, s, g)
                    for m, s, g in zip(own, stored, generators, strict=True)
                ]
                keys = tuple(every[0])
                down, up = (
                    torch.zeros(len(own), *_filled(every[0][key].shape, k, most)).to(every[0][key])
                    for k, key in enumerate(keys)
                )
                down, up = torch.nn.Parameter(down), torch.nn.Parameter(up)
                for k, (live, factors, m) in enumerate(zip(lives, every, own, strict=True)):
                    parts = down.data[k, : m.rank], up.data[k, :, : m.rank]
                    for key, part, leaf in zip(keys, parts, (down, up), strict=True):
                        part.copy_(factors[key].data)
                        live.tensors[key] = torch.nn.Parameter(part, requires_grad=False)
                        live.stack[key] = leaf
                hook = _beside_many(down, up, strengths, rows, place_of, lives)
                stack.callback(layer.register_forward_hook(hook).remove)
            for live, m in zip(lives, own, strict=True):
                live.cut = functools.partial(_cut, m.rank)
            yield lives


def _filled(shape: Any, which: int, rank: int) -> tuple[int, ...]:
    """The shape of a factor at another rank, which is the first size of `down` and the second of `up`."""
    sizes = list(shape)
    sizes[which] = rank
    return tuple(sizes)


def _cut(rank: int, name: str, full: Tensor) -> Tensor:
    """The part of a factor that is not padding."""
    return full[:rank] if name.endswith("down") else full[:, :rank]


def _beside_many(
    down: Tensor, up: Tensor, strengths: Tensor, rows: Any, place_of: Mapping[int, int], lives: Sequence[Live]
) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    """The layer's output plus, for each row, its own subject's low-rank change.

    Rows of subjects without such a change, among several kinds stacked together, get none.
    """
    import torch
    import torch.nn.functional as F

    cache: dict[int, tuple[Tensor, Tensor, Tensor | None]] = {}

    def chosen() -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Factors for each group of rows, and the numbers of these rows (None: all of them, in equal groups)."""
        if rows.all_of(place_of):
            return down, up, strengths, None
        at, mine = rows.of(place_of)
        return down[mine], up[mine], strengths[mine], at

    def hook(layer: Any, inputs: Any, out: Tensor) -> Tensor:
        if not all(live.on for live in lives):
            return out
        if rows.version in cache and not torch.is_grad_enabled():
            first, second, at = cache[rows.version]
        else:
            first, second, strength, at = chosen()
            second = second * strength.to(second).view(-1, *(1 for _ in second.shape[1:]))
            cache.clear()
            if not torch.is_grad_enabled():  # in sampling every step has the same rows and factors
                cache[rows.version] = first, second, at
        if not len(first):
            return out
        x = inputs[0] if at is None or len(at) == len(inputs[0]) else inputs[0][at]
        more = linear(x, first, second) if down.ndim == 3 else convolution(layer, x, first, second)
        if at is None or len(at) == len(out):
            return out + more.view(out.shape)
        return out.index_add(0, at, more.view(len(at), *out.shape[1:]))

    def linear(x: Tensor, first: Tensor, second: Tensor) -> Tensor:
        return torch.bmm(torch.bmm(x.reshape(len(first), -1, x.shape[-1]), first.mT), second.mT)

    def convolution(layer: Any, x: Tensor, first: Tensor, second: Tensor) -> Tensor:
        groups, each = len(first), len(x) // len(first)
        # the channels of each group side by side
        beside = x.view(groups, each, *x.shape[1:]).transpose(0, 1).reshape(each, -1, *x.shape[2:])
        low = F.conv2d(beside, first.flatten(0, 1), None, layer.stride, layer.padding, layer.dilation, groups)
        more = F.conv2d(low, second.flatten(0, 1), groups=groups)
        return more.view(each, groups, -1, *more.shape[2:]).transpose(0, 1).reshape(len(x), -1, *more.shape[2:])

    return hook


def factors_of(
    name: str, layer: Any, rank: int, stored: Mapping[str, Tensor], generator: Generator
) -> dict[str, nn.Parameter]:
    """A [rank, in, ...] with LoRA's Kaiming-uniform start, and B [out, rank, ...] zero.

    name: beginning of the factors' names
    layer: the linear or convolution layer
    rank: rank of the change
    stored: stored tensors by name, which replace the start
    generator: draws A
    """
    import math

    import torch

    weight = layer.weight
    shapes = {
        f"{name}.down": (rank, *weight.shape[1:]),
        f"{name}.up": (weight.shape[0], rank, *(1 for _ in weight.shape[2:])),
    }
    given: Mapping[str, Tensor] = stored
    if not shapes.keys() <= stored.keys():  # stored factors need no random start
        fan_in = math.prod(weight.shape[1:])
        down, up = shapes.values()
        starts = ((torch.rand(down, generator=generator) * 2 - 1) / fan_in**0.5, torch.zeros(up))
        given = {**dict(zip(shapes, starts, strict=True)), **stored}
    parameters = {}
    for key, shape in shapes.items():
        value = given[key]
        if value.shape != shape:
            raise FileError(f"{key} is {tuple(value.shape)} in the concept; this base and rank want {tuple(shape)}")
        kind = weight.dtype if weight.dtype.is_floating_point else torch.float32  # quantised weights are integers
        value = value.detach().clone().to(weight.device, kind)
        parameters[key] = torch.nn.Parameter(value, requires_grad=False)
    return parameters


def beside(down: Tensor, up: Tensor, strength: float, live: Live) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    """A hook that adds the low-rank change of a layer's input to its output.

    down: A [rank, in, …]
    up: B [out, rank, …]
    strength: factor of the change
    live: the attached modifier, which may be inactive
    """
    import torch.nn.functional as F

    def linear(_: nn.Module, inputs: Any, out: Tensor) -> Tensor:
        return out + strength * F.linear(F.linear(inputs[0], down), up) if live.on else out

    def convolution(layer: Any, inputs: Any, out: Tensor) -> Tensor:
        if not live.on:
            return out
        low = F.conv2d(inputs[0], down, None, layer.stride, layer.padding, layer.dilation)
        return out + strength * F.conv2d(low, up)

    return linear if down.ndim == 2 else convolution
