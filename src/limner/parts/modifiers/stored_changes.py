"""Changes of layers read from a file, of any layers and any rank."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from limner.core.types import Live
from limner.errors import FileError

from .low_rank import beside
from .weight_changes import in_place_of

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base

    from .weight_changes import Change

LOW_RANK, WEIGHT = "low_rank.", "weight."


@dataclass(frozen=True)
class stored_changes:
    """Apply the changes that a file stores for layers.

    `low_rank.LAYER.{down, up, alpha}` acts beside a layer. `weight.LAYER.` changes its weight, by {a1, b1, a2, b2,
    alpha} (LoHa), {c, d} (LoKr; `rows`, where given, selects rows of the product), {rotation} (OFT) or {down, up,
    alpha}. With `magnitude` the change of a weight is decomposed (DoRA). A missing alpha equals the rank. Raises
    `FileError` for changes that do not fit the base.
    """

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
                placed = {key: t.to(module.weight.device, None if key == "rows" else dtype) for key, t in own.items()}
                live.tensors |= {f"{name}.{key}": stored[f"{name}.{key}"] for key in own}
                if not scale:
                    continue
                if kind == "low_rank":
                    strength = scale * _low_rank_strength(name, placed, _shape(module))
                    hook = beside(placed["down"], placed["up"], strength, live)
                    stack.callback(module.register_forward_hook(hook).remove)
                else:
                    before, after = in_place_of(module.weight, placed, _change(name, module, placed), scale, live)
                    stack.callback(module.register_forward_pre_hook(before).remove)
                    stack.callback(module.register_forward_hook(after, always_call=True).remove)
            yield live


FACTORS = {
    LOW_RANK: ({"down", "up"},),
    WEIGHT: ({"a1", "b1", "a2", "b2"}, {"c", "d"}, {"c", "d", "rows"}, {"rotation"}, {"down", "up"}),
}
"""Factors of a change, by the prefix of its name. Each set may come with an alpha, those of a weight with a
magnitude."""
FLAT = ("rows",)
"""Factors that are one-dimensional and hold integers."""


def _layer(base: Base, layer: str) -> Any:
    """A layer by its name. Raises `FileError` where the base has no layer of that name with a weight."""
    part, _, path = layer.partition(".")
    try:
        module: Any = base.module(part).get_submodule(path)
        module.weight.shape  # noqa: B018  # a module without a weight cannot be changed
    except (AttributeError, KeyError, LookupError, ValueError) as error:
        raise FileError(
            f"the file changes {layer[:200]!r}, which {base.name} does not have: it is of another base"
        ) from error
    return module


def _check(name: str, kind: str, own: Mapping[str, Tensor]) -> None:
    """Raise `FileError` unless these are the factors of one change, none empty, each with the dimensions of its
    kind."""
    factors = {key: tensor for key, tensor in own.items() if key not in ("alpha", "magnitude")}
    if set(factors) not in FACTORS[f"{kind}."]:
        raise FileError(
            f"{name} has the factors {', '.join(sorted(factors))[:200]}, which form no change of a layer; the file is damaged"
        )
    for key, tensor in own.items():
        flat, real = key in FLAT, tensor.is_floating_point()
        right = tensor.numel() == 1 if key == "alpha" else tensor.ndim == 1 if flat else tensor.ndim >= 2
        if not right or not tensor.numel() or flat == real:
            raise FileError(
                f"{name}.{key} is no factor of a change: it has shape {tuple(tensor.shape)} and is {tensor.dtype}"
            )


def _shape(module: Any) -> tuple[int, ...]:
    """Shape of a layer's weight as it computes; quantised weights are stored in another."""
    if hasattr(module, "in_features"):
        return int(module.out_features), int(module.in_features)
    return tuple(module.weight.shape)


def _low_rank_strength(name: str, own: Mapping[str, Tensor], shape: tuple[int, ...]) -> float:
    """alpha / rank, after checking that the factors fit the layer and each other."""
    _fits(name, own["down"].shape[1:], shape[1:])
    _fits(name, own["up"].shape[:1], shape[:1])
    rank = len(own["down"])
    if own["up"].shape[1] != rank:
        raise FileError(f"the ranks of {name} disagree: {rank} down and {own['up'].shape[1]} up; it is damaged")
    return float(own.get("alpha", rank)) / rank


def _grouped(stored: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    layers: dict[str, dict[str, Tensor]] = {}
    for name, tensor in stored.items():
        if name.startswith((LOW_RANK, WEIGHT)):
            layer, _, key = name.rpartition(".")
            layers.setdefault(layer, {})[key] = tensor
    return layers


def _fits(name: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if tuple(shape) != tuple(wanted):
        raise FileError(f"{name} is {tuple(shape)} in the file and {tuple(wanted)} in the base: it is of another base")


def _change(name: str, module: Any, own: Mapping[str, Tensor]) -> Change:
    """Parameters -> the change of the weight; decomposed where there is a magnitude."""
    import torch

    weight = module.weight
    if not weight.dtype.is_floating_point:
        raise FileError(
            f"{name} is a change of a whole weight, and the base's is quantised: open the base without --quantise"
        )
    plain = _plain_change(name, weight, own)
    if "magnitude" not in own:
        return plain

    def decomposed(now: Mapping[str, Tensor]) -> Tensor:
        """m W' / ||W'|| - W, the lengths of rows or of columns as the magnitude has them (Eq. 5 of
        arXiv:2402.09353)."""
        whole = weight + plain(now)
        magnitude = now["magnitude"]
        along = [k for k in range(whole.ndim) if magnitude.shape[k] == 1]
        return magnitude / torch.linalg.vector_norm(whole, dim=along, keepdim=True) * whole - weight

    return decomposed


def _plain_change(name: str, weight: Tensor, own: Mapping[str, Tensor]) -> Change:
    """(alpha / rank) B A, (alpha / rank) (A1 B1) * (A2 B2), C kron D, or W R^T - W."""
    import torch

    shape = tuple(weight.shape)
    if "down" in own:
        strength = _low_rank_strength(name, own, shape)
        return lambda now: strength * (now["up"].flatten(1) @ now["down"].flatten(1)).view_as(weight)
    if "a1" in own:
        rank, wanted = len(own["b1"]), (shape[0], weight[0].numel())
        for a, b in (("a1", "b1"), ("a2", "b2")):
            _fits(name, (len(own[a]), own[b].shape[1]), wanted)
            _fits(f"the rank of {name}", own[a].shape[1:], own[b].shape[:1])
            _fits(f"the dimensions of {name}", (own[a].ndim, own[b].ndim), (2, 2))
        factor = float(own.get("alpha", rank)) / rank
        return lambda now: (factor * (now["a1"] @ now["b1"]) * (now["a2"] @ now["b2"])).view_as(weight)
    if "rotation" in own:
        count, side = own["rotation"].shape[:2]
        _fits(name, (count * side,), (weight[0].numel(),))

        def turned(now: Mapping[str, Tensor]) -> Tensor:
            rows = weight.reshape(len(weight), count, side)
            return (torch.einsum("obi,bji->obj", rows, now["rotation"]) - rows).reshape(shape)

        return turned
    small, large = own["c"], own["d"]
    high = len(own["rows"]) if "rows" in own else len(small) * len(large)
    _fits(name, (high, small.shape[1] * large.shape[1]), shape[:2])
    places = tuple(large.shape[2:]) or (1,) * (weight.ndim - 2)
    _fits(f"the positions of {name}", places, shape[2:])

    def kronecker(now: Mapping[str, Tensor]) -> Tensor:
        first = now["c"].reshape(*now["c"].shape[:2], *(1 for _ in shape[2:]))
        product = torch.kron(first, now["d"])
        return product[now["rows"]] if "rows" in now else product

    return kronecker
