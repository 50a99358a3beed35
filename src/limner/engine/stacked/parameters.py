"""Values of the base's own parameters by rows: each row is computed with those that its own concept stores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import linear

from limner.engine.attach import BASE_PARTS

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base
    from limner.engine.attach import Adapter

    from .rows import Rows

PART = "denoiser."


def why_not_by_rows(base: Base, adapter: Adapter) -> str:
    """The reason why the base's parameters that an adapter stores cannot differ between rows; empty where they can, as
    weights and biases of the denoiser's linear layers do (cross-attention's keys and values, for one)."""
    for name in _stored(adapter):
        layer = base.module("denoiser").get_submodule(_layer(name)) if name.startswith(PART) else None
        if not isinstance(layer, torch.nn.Linear) or not layer.weight.dtype.is_floating_point:
            return f"it changes {name}, which is not of a linear layer of the denoiser"
    return ""


@contextmanager
def attach_parameters(base: Base, adapters: Sequence[Adapter], rows: Rows) -> Iterator[None]:
    """Attach the base's parameters that adapters store, each to its own rows. Adapters are told apart by their place.
    Raises nothing for other parameters than `why_not_by_rows` allows: ask it before."""
    values: dict[str, dict[int, dict[str, Tensor]]] = {}
    for place, adapter in enumerate(adapters):
        for name, value in _stored(adapter).items():
            own = values.setdefault(_layer(name), {}).setdefault(place, {})
            own[name.rpartition(".")[2]] = _at_scale(base, name, value, adapter.scale)
    with ExitStack() as stack:
        for name, changed in values.items():
            layer = base.module("denoiser").get_submodule(name)
            stack.callback(layer.register_forward_hook(_by_rows(changed, rows)).remove)
        yield


def _by_rows(
    changed: Mapping[int, Mapping[str, Tensor]], rows: Rows
) -> Callable[[torch.nn.Module, Any, Tensor], Tensor]:
    """A hook that computes the rows of each changed member anew, with its own weight and bias."""

    def hook(layer: Any, inputs: Any, out: Tensor) -> Tensor:
        for member, own in changed.items():
            at = rows.those_of(member)
            if len(at):
                out[at] = linear(inputs[0][at], own.get("weight", layer.weight), own.get("bias", layer.bias))
        return out

    return hook


def _at_scale(base: Base, name: str, value: Tensor, scale: float) -> Tensor:
    """The value of a parameter under an adapter, as `engine.attach` computes it for a single one."""
    original = base.module("denoiser").get_parameter(name.removeprefix(PART)).detach()
    value = value.to(original)
    return value if scale == 1 else original + scale * (value - original)


def _stored(adapter: Adapter) -> dict[str, Tensor]:
    return {n: t for n, t in adapter.stored.items() if n.startswith(BASE_PARTS)} if adapter.scale else {}


def _layer(name: str) -> str:
    return name.removeprefix(PART).rpartition(".")[0]
