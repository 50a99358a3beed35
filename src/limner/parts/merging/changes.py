"""The changes that a concept makes to its base, by any method: one difference for each parameter."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from limner.core.adapted import names
from limner.engine.attach import attach, parameter
from limner.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base
    from limner.core.types import Live
    from limner.engine.attach import Adapter


@dataclass(frozen=True)
class Member:
    """A concept to be merged: its adapter, and its changes of the base.

    adapter: the adapter, as it is attached
    changes: differences from the base by the parameter's name, "denoiser.….weight"
    keeps: numbers of the modifiers that act on the concept's handle alone, such as tokens; they stay as they are
    own: the tensors of these modifiers
    """

    adapter: Adapter
    changes: Mapping[str, Tensor]
    keeps: tuple[int, ...] = ()
    own: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def handle(self) -> str:
        """The concept's handle in messages."""
        return self.adapter.handle


Merging: TypeAlias = "Callable[[Sequence[Member], Base], dict[str, Tensor]]"
"""Concepts to be merged and their base -> the one change that replaces theirs, by the parameter's name.

`limner.merge` makes of it what a user calls a merging: (base, concepts) -> Concept.
"""


def member_of(adapter: Adapter, base: Base) -> Member:
    """A concept with its changes of the base.

    Any change of a layer is computed from the layer itself: the weight that it computes with minus its own weight.
    Raises `InputError` for a concept with parts that change neither a weight nor a token, and for one that acts on
    sampling in another way.

    adapter: the concept's adapter
    base: the base
    """
    import torch

    _check_plain(adapter)
    keeps: list[int] = []
    own: dict[str, Tensor] = {}
    layers: set[str] = set()
    with torch.no_grad(), attach(base, [adapter]) as adapted:
        for (_, index), modifier, live in adapted.live.items():
            there = {layer for name in live.tensors if (layer := _layer_of(base, name))}
            if there:
                _check_whole(base, adapter.handle, modifier, live)
                layers |= there
            elif live.tensors or live.operations or live.words:
                _check_of_words(adapter, modifier, live)
                keeps.append(index)
                own |= {name: tensor.detach().cpu().clone() for name, tensor in live.tensors.items()}
        changes = {
            name: (parameter(base, name) - before).detach().clone() for name, before in adapted.originals.items()
        }
        for layer in sorted(layers):
            weight = parameter(base, f"{layer}.weight")
            before = adapted.originals.get(f"{layer}.weight", weight)
            changes[f"{layer}.weight"] = computed_weight(layer_module(base, layer)) - before
    nonzero_changes = {name: change for name, change in changes.items() if bool(change.any())}
    return Member(adapter, dict(sorted(nonzero_changes.items())), tuple(keeps), own)


def _check_plain(adapter: Adapter) -> None:
    """Raise `InputError` for a concept with parts in sampling, or with pre-trained weights, which cannot be merged."""
    from limner.core.recipe import Painting

    if adapter.recipe.painting != Painting():
        raise InputError(
            f"{adapter.handle} acts while painting in a way of its own, which cannot be merged into a file; paint with both concepts at "
            "once (on the command line: --with FILE FILE)"
        )
    if adapter.recipe.weights:
        raise InputError(
            f"{adapter.handle} stands on the pre-trained weights of {adapter.recipe.weights}, which concepts share without merging; paint "
            "with both concepts at once (on the command line: --with FILE FILE)"
        )


def _check_whole(base: Base, handle: str, modifier: Any, live: Live) -> None:
    rest = [name for name in live.tensors if not _layer_of(base, name)]
    if rest or live.words:
        extra = rest[0] if rest else next(iter(live.words))
        raise InputError(
            f"{names([modifier])[0]} of {handle} changes layers and holds {extra} besides, so it cannot be merged; paint with both concepts "
            "at once (on the command line: --with FILE FILE)"
        )


def _check_of_words(adapter: Adapter, modifier: Any, live: Live) -> None:
    """Raise `InputError` unless a part acts on prompts with its handle alone, and so can stay beside another
    concept's."""
    bare = [answer.handle[:-1] for answer in adapter.answers]
    strange = [name for name in live.tensors if not any(handle in name for handle in bare)]
    if strange and not live.words:
        raise InputError(
            f"{names([modifier])[0]} of {adapter.handle} holds {strange[0]}, which is neither a change of a weight nor of a word, so it "
            "cannot be merged; paint with both concepts at once (on the command line: --with FILE FILE)"
        )


def _layer_of(base: Base, name: str) -> str:
    """The linear or convolution layer that a tensor of a concept belongs to, "denoiser.NAME"; empty for none."""
    parts = "|".join(map(re.escape, sorted(base.parts, key=len, reverse=True)))
    match = re.fullmatch(rf"[A-Za-z0-9_]+\.((?:{parts})\..+)\.[A-Za-z0-9_]+", name)
    if match is None:
        return ""
    try:
        module = layer_module(base, match[1])
    except (AttributeError, KeyError):
        return ""
    return match[1] if hasattr(module, "weight") and module.weight.ndim in (2, 4) else ""


def layer_module(base: Base, layer: str) -> Any:
    """A layer by its name.

    base: the base
    layer: "denoiser.NAME"
    """
    part, _, path = layer.partition(".")
    return base.module(part).get_submodule(path)


ROWS = 1024
"""Input directions that pass a layer at once when its weight is computed."""


def computed_weight(layer: Any) -> Tensor:
    """The weight [out, in, …] that a linear or convolution layer computes with now.

    It is the layer's output for every input direction minus its output for zero.

    layer: the layer, with any hooks
    """
    import torch

    weight = layer.weight
    shape = weight.shape[1:]
    count = int(torch.tensor(shape).prod())
    columns = []
    for start in range(0, count, ROWS):
        which = torch.arange(start, min(start + ROWS, count), device=weight.device)
        columns.append(_answers(layer, torch.nn.functional.one_hot(which, count).to(weight), shape))
    return torch.cat(columns).mT.reshape(weight.shape).contiguous()


def _answers(layer: Any, directions: Tensor, shape: Any) -> Tensor:
    """[n, out]: the layer's outputs for directions [n, in * kernel], without its bias."""
    import torch
    import torch.nn.functional as F

    if len(shape) == 1:
        return layer(directions) - layer(torch.zeros_like(directions[:1]))
    # the first output position whose window lies inside of the input, and the window's first pixel
    at = [-(-pad // step) for pad, step in zip(layer.padding, layer.stride, strict=True)]
    offset = [a * step - pad for a, step, pad in zip(at, layer.stride, layer.padding, strict=True)]
    patches = directions.view(-1, *shape)
    patches = F.pad(patches, (offset[1], layer.padding[1], offset[0], layer.padding[0]))
    out = layer(patches) - layer(torch.zeros_like(patches[:1]))
    return out[:, :, at[0], at[1]]


def stored_of(base: Base, changes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that a concept stores for a change.

    They are two factors where these are smaller than the weight and hold all of the change, otherwise the parameter's
    value.

    base: the base
    changes: differences from the base by the parameter's name
    """
    import torch

    tensors: dict[str, Tensor] = {}
    for name, change in changes.items():
        before, layer = parameter(base, name).detach(), name.removesuffix(".weight")
        factors = None
        if change.ndim in (2, 4) and _is_layer(base, layer) and float((change == 0).float().mean()) < MOSTLY:
            factors = _factors(change.float().cpu(), float(torch.linalg.matrix_norm(before.flatten(1).float(), 2)))
        if factors is None:
            tensors[name] = (before + change.to(before)).cpu()
        else:
            tensors[f"low_rank.{layer}.down"], tensors[f"low_rank.{layer}.up"] = factors
    return tensors


def _is_layer(base: Base, layer: str) -> bool:
    import torch

    module = layer_module(base, layer)
    return isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)) and getattr(module, "groups", 1) == 1


MOSTLY = 0.5
"""Least share of weights without any change for which a change is stored as values: factors would move them by
rounding."""
NOTHING = 1e-6
"""Singular values below this share of the weight's largest are rounding errors, and left out."""


def _factors(change: Tensor, size: float) -> tuple[Tensor, Tensor] | None:
    """down [r, in, …] and up [out, r, …] with the change as their product, r its rank; None where the whole is
    smaller."""
    import torch

    left, values, right = torch.linalg.svd(change.flatten(1), full_matrices=False)
    rank = max(1, int((values > max(1e-5 * float(values[0]), NOTHING * size)).sum()))
    if rank * (len(left) + right.shape[1]) >= change.numel():
        return None
    root = values[:rank].sqrt()
    down, up = root[:, None] * right[:rank], left[:, :rank] * root
    return down.reshape(rank, *change.shape[1:]).contiguous(), up.reshape(
        *up.shape, *(1,) * (change.ndim - 2)
    ).contiguous()


def over_all(members: Sequence[Member], combine: Callable[[list[Tensor]], Tensor]) -> dict[str, Tensor]:
    """Every parameter that a member changes -> the combined change; a member that does not change it counts as zeros.

    members: the concepts
    combine: changes of one parameter, one for each member -> their combination
    """
    import torch

    every = {name: change for member in members for name, change in member.changes.items()}
    return {
        name: combine([member.changes.get(name, torch.zeros_like(some)) for member in members])
        for name, some in every.items()
    }
