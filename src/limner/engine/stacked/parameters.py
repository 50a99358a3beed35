"""Weights by rows: each row of a layer's batch is computed with the weight of its own member."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from limner.engine.attach import BASE_PARTS

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base
    from limner.engine.attach import Adapter

    from .rows import Rows

DENOISER = "denoiser."


class OwnWeights:
    """Two hooks of a linear or convolution layer, for sampling: rows of the members named are computed with their own
    weight and bias, all others with the layer's.

    The layer's own result is thrown away for a member's rows. Where every row is a member's and no other hook reads
    the layer, the layer therefore runs on no rows at all.

    Args:
        rows: the member of each row.
        values: member -> function that gives its "weight", "bias" or both.
    """

    def __init__(self, rows: Rows, values: Mapping[int, Callable[[], Mapping[str, Tensor | None]]]) -> None:
        self.rows, self.values = rows, values
        self._whole: Tensor | None = None  # the input, between the two hooks, where the layer runs on no rows

    @property
    def skipped(self) -> bool:
        """Between the two hooks: whether the layer runs on no rows."""
        return self._whole is not None

    def before(self, layer: Any, inputs: Any) -> Any:
        if len(layer._forward_hooks) > 1 or any(k not in self.values for k in self.rows.members):
            return None
        self._whole = inputs[0]
        return inputs[0][:0], *inputs[1:]

    def after(self, layer: Any, inputs: Any, out: Tensor) -> Tensor:
        x, self._whole = inputs[0] if self._whole is None else self._whole, None
        if len(out) != len(x):
            out = out.new_empty(len(x), *out.shape[1:])
        for member, value in self.values.items():
            at = self.rows.those_of(member)
            if len(at):
                out[at] = through(layer, x[at], value())
        return out


def through(layer: Any, x: Tensor, own: Mapping[str, Tensor | None]) -> Tensor:
    """The output of a linear or convolution layer for an input, with another "weight", "bias" (None: without) or
    both."""
    weight, bias = own.get("weight", layer.weight), own.get("bias", layer.bias)
    if isinstance(layer, torch.nn.Linear):
        return F.linear(x, weight, bias)
    return F.conv2d(x, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)


def why_not_by_rows(base: Base, adapter: Adapter) -> str:
    """The reason why the base's parameters that an adapter stores cannot differ between rows; empty where they can, as
    weights and biases of the denoiser's linear layers do (cross-attention's keys and values, for one)."""
    for name in _stored(adapter):
        layer = base.module("denoiser").get_submodule(_layer(name)) if name.startswith(DENOISER) else None
        if not isinstance(layer, torch.nn.Linear) or not layer.weight.dtype.is_floating_point:
            return f"it changes {name}, which is not of a linear layer of the denoiser"
    return ""


@contextmanager
def attach_parameters(base: Base, adapters: Sequence[Adapter], rows: Rows) -> Iterator[None]:
    """Attach the base's parameters that adapters store, each to the rows of its adapter, named by its place. Adapters
    are those for which `why_not_by_rows` gives no reason."""
    values: dict[str, dict[int, dict[str, Tensor]]] = {}
    for place, adapter in enumerate(adapters):
        for name, value in _stored(adapter).items():
            own = values.setdefault(_layer(name), {}).setdefault(place, {})
            own[name.rpartition(".")[2]] = _at_scale(base, name, value, adapter.scale)
    with ExitStack() as stack:
        for name, by_place in values.items():
            layer = base.module("denoiser").get_submodule(name)
            hooks = OwnWeights(rows, {place: functools.partial(dict, own) for place, own in by_place.items()})
            stack.callback(layer.register_forward_pre_hook(hooks.before).remove)
            stack.callback(layer.register_forward_hook(hooks.after).remove)
        yield


def _at_scale(base: Base, name: str, value: Tensor, scale: float) -> Tensor:
    """The value of a parameter under an adapter, as `engine.attach` computes it for a single one."""
    original = base.module("denoiser").get_parameter(name.removeprefix(DENOISER)).detach()
    value = value.to(original)
    return value if scale == 1 else original + scale * (value - original)


def _stored(adapter: Adapter) -> dict[str, Tensor]:
    return {n: t for n, t in adapter.stored.items() if n.startswith(BASE_PARTS)} if adapter.scale else {}


def _layer(name: str) -> str:
    return name.removeprefix(DENOISER).rpartition(".")[0]
