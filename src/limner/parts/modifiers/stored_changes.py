"""Changes of layers that a file brings, whichever layers and of whichever rank."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from limner.errors import FileError
from limner.recipe import Live

from .low_rank import beside
from .weight_changes import in_place_of

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.bases.protocol import Base
    from limner.parts.modifiers.weight_changes import Change

LOW_RANK, WEIGHT = "low_rank.", "weight."


@dataclass(frozen=True)
class stored_changes:
    """What is stored is worn: `low_rank.LAYER.{down, up, alpha}` beside a layer, `weight.LAYER.{a1, b1, a2, b2, alpha}` (LoHa)
    and `weight.LAYER.{c, d}` (LoKr) in its weight. No alpha is alpha = rank."""

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        live = Live()
        with ExitStack() as stack:
            for name, own in _grouped(stored).items():
                kind, layer = name.split(".", 1)
                module = _layer(base, layer)
                _check(name, kind, own)
                dtype = module.weight.dtype if module.weight.dtype.is_floating_point else None
                placed = {key: tensor.to(module.weight.device, dtype) for key, tensor in own.items()}
                live.tensors |= {f"{name}.{key}": stored[f"{name}.{key}"] for key in own}
                if not scale:
                    continue
                if kind == "low_rank":
                    _fits(name, placed["down"].shape[1:], module.weight.shape[1:])
                    _fits(name, placed["up"].shape[:1], module.weight.shape[:1])
                    rank = len(placed["down"])
                    if placed["up"].shape[1] != rank:
                        raise FileError(
                            f"the ranks of {name} disagree: {rank} down and {placed['up'].shape[1]} up; it is damaged"
                        )
                    strength = scale * float(placed.get("alpha", rank)) / rank
                    hook = beside(placed["down"], placed["up"], strength, live)
                    stack.callback(module.register_forward_hook(hook).remove)
                else:
                    before, after = in_place_of(module.weight, placed, _change(module.weight, placed), scale, live)
                    stack.callback(module.register_forward_pre_hook(before).remove)
                    stack.callback(module.register_forward_hook(after, always_call=True).remove)
            yield live


FACTORS = {"low_rank.": ({"down", "up"},), "weight.": ({"a1", "b1", "a2", "b2"}, {"c", "d"})}
"""Factors of a change, by the kind of its name; each may have an alpha."""


def _layer(base: Base, layer: str) -> Any:
    """A layer by its name. Raises `FileError` where the base has none of that name with a weight."""
    part, _, path = layer.partition(".")
    try:
        module: Any = base.module(part).get_submodule(path)
        module.weight.shape  # noqa: B018  # what has no weight has nothing to change
    except (AttributeError, KeyError, LookupError, ValueError) as error:
        raise FileError(
            f"the file changes {layer[:200]!r}, a layer that {base.name} has not: it is of another base"
        ) from error
    return module


def _check(name: str, kind: str, own: Mapping[str, Tensor]) -> None:
    """Whether factors are those of one change, of two dimensions or more, with something in them. Raises `FileError`."""
    factors = {key: tensor for key, tensor in own.items() if key != "alpha"}
    if set(factors) not in FACTORS[f"{kind}."]:
        raise FileError(
            f"{name} has the factors {', '.join(sorted(factors))[:200]}, which are those of no change; the file is damaged"
        )
    bad = [
        key
        for key, tensor in factors.items()
        if tensor.ndim < 2 or not tensor.numel() or not tensor.is_floating_point()
    ]
    if bad or ("alpha" in own and own["alpha"].numel() != 1):
        raise FileError(
            f"{name}.{bad[0] if bad else 'alpha'} is no factor of a change: it has shape {tuple(own[bad[0] if bad else 'alpha'].shape)}"
        )


def _grouped(stored: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in stored.items():
        if name.startswith((LOW_RANK, WEIGHT)):
            layer, _, key = name.rpartition(".")
            found.setdefault(layer, {})[key] = tensor
    return found


def _fits(name: str, found: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if tuple(found) != tuple(wanted):
        raise FileError(f"{name} is {tuple(found)} in the file and {tuple(wanted)} in the base: it is of another base")


def _change(weight: Tensor, own: Mapping[str, Tensor]) -> Change:
    """(alpha / rank) (A1 B1) * (A2 B2), or C kron D."""
    import torch

    if "a1" in own:
        rank, wanted = len(own["b1"]), (len(weight), weight[0].numel())
        for a, b in (("a1", "b1"), ("a2", "b2")):
            _fits("a change", (len(own[a]), own[b].shape[1]), wanted)
            _fits("a change's rank", own[a].shape[1:], own[b].shape[:1])
            _fits("a change's factors", (own[a].ndim, own[b].ndim), (2, 2))
        factor = float(own.get("alpha", rank)) / rank
        return lambda now: (factor * (now["a1"] @ now["b1"]) * (now["a2"] @ now["b2"])).view_as(weight)
    small, large = own["c"], own["d"]
    _fits("a change", tuple(a * b for a, b in zip(small.shape, large.shape, strict=False))[:2], tuple(weight.shape[:2]))
    _fits("a change's places", tuple(large.shape[2:]) or (1,) * (weight.ndim - 2), tuple(weight.shape[2:]))

    def change(now: Mapping[str, Tensor]) -> Tensor:
        first = now["c"].reshape(*now["c"].shape[:2], *(1 for _ in weight.shape[2:]))
        return torch.kron(first, now["d"])

    return change
