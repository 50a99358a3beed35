"""Changes of a layer's weight that are a function of a few parameters: W' = W + scale * change(parameters).

While the adapter is attached, a layer computes with W' in the place of W. No parameter is renamed, replaced or written
to; detaching removes two hooks.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from limner.core.types import Live
from limner.errors import InputError

from .parameters import Kept, taken

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from limner.core.base import Base

Change: TypeAlias = "Callable[[Mapping[str, Tensor]], Tensor]"
"""Parameters by name -> the change of the weight, in its shape."""

Kind: TypeAlias = "Callable[[Tensor, Generator], tuple[dict[str, Tensor], Change]]"
"""A layer's weight [out, in, ...], generator -> the parameters at their start, where the change is zero, and the
change."""

CACHED = 2**30
"""Most bytes of changed weights that stay in memory while a batch of different concepts is sampled; further ones are
computed in every step."""


@dataclass(frozen=True)
class changed_weights:
    """A change of one kind in each layer of a set.

    kind: the change, such as `hadamard(4)`
    layers: a set that the base names, "attention" or "everything"
    """

    kind: Kind
    layers: str = "attention"

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        live = Live()
        with ExitStack() as stack:
            for name, layer in base.projections(self.layers).items():
                weight: Any = layer.weight
                start, change = self.kind(weight.detach(), generator)
                names = {f"weight.{name}.{key}": key for key in start}
                parameters = taken(
                    {n: start[key] for n, key in names.items()}, stored, base, what="the change of a weight"
                )
                live.tensors |= parameters
                own = {key: parameters[n] for n, key in names.items()}
                if scale:
                    before, after = in_place_of(weight, own, change, scale, live)
                    stack.callback(layer.register_forward_pre_hook(before).remove)
                    stack.callback(layer.register_forward_hook(after, always_call=True).remove)
            yield live

    @classmethod
    @contextmanager
    def stacked(
        cls,
        base: Base,
        own: Sequence[changed_weights],
        stored: Sequence[Mapping[str, Tensor]],
        generators: Sequence[Generator],
        scales: Sequence[float],
        rows: Any,
        places: Sequence[int],
    ) -> Iterator[list[Live]]:
        """The changes of several subjects, of any kinds: each row of a layer's output gets its own subject's change."""
        lives, room = [Live() for _ in own], _Room()
        with ExitStack() as stack:
            for name, layer in base.projections(own[0].layers).items():
                weight: Any = layer.weight
                made: list[Callable[[], Tensor]] = []
                for live, part, tensors, generator, scale in zip(lives, own, stored, generators, scales, strict=True):
                    start, change = part.kind(weight.detach(), generator)
                    names = {f"weight.{name}.{key}": key for key in start}
                    parameters = taken(
                        {n: start[key] for n, key in names.items()}, tensors, base, what="the change of a weight"
                    )
                    live.tensors |= parameters
                    mine = {key: parameters[n] for n, key in names.items()}
                    made.append(functools.partial(_scaled, change, mine, scale))
                hooks = _ByRows(layer, dict(zip(places, made, strict=True)), rows, lives, room)
                stack.callback(layer.register_forward_pre_hook(hooks.before).remove)
                stack.callback(layer.register_forward_hook(hooks.after).remove)
            yield lives


def _scaled(change: Change, own: Mapping[str, Tensor], scale: float) -> Tensor:
    return scale * change(own)


class _Room:
    """Bytes left for changed weights that last from one step of sampling to the next."""

    def __init__(self) -> None:
        self.num_bytes = CACHED


class _ByRows:
    """Two hooks of a layer: each row is computed with its own subject's change of the weight."""

    def __init__(
        self,
        layer: Any,
        changes: Mapping[int, Callable[[], Tensor]],
        rows: Any,
        lives: Sequence[Live],
        room: _Room,
    ) -> None:
        # imported here: methods, and with them every command, are read without torch
        from limner.engine.stacked.parameters import OwnWeights

        self.layer, self.changes, self.rows, self.lives, self.room = layer, changes, rows, lives, room
        self.place_of = {place: k for k, place in enumerate(changes)}
        self.own = OwnWeights(rows, {place: functools.partial(self._weight, place) for place in changes})
        self.cache: dict[tuple[str, int], Tensor] = {}  # only in sampling, where parameters do not change

    @property
    def on(self) -> bool:
        return all(live.on for live in self.lives)

    def before(self, layer: nn.Module, inputs: Any) -> Any:
        import torch

        return None if torch.is_grad_enabled() or not self.on else self.own.before(layer, inputs)

    def after(self, layer: nn.Module, inputs: Any, out: Tensor) -> Tensor:
        import torch

        from limner.engine.stacked.parameters import through

        if not self.on:
            return out
        if torch.is_grad_enabled():
            self._forget()
            return self._stacked(inputs[0], out)
        if self.own.skipped:
            return self.own.after(layer, inputs, out)
        for place in self.changes:
            at = self.rows.those_of(place)
            if len(at):
                change = self._cached("change", place, self.changes[place])
                out[at] += through(layer, inputs[0][at], {"weight": change.to(out.dtype), "bias": None})
        return out

    def _weight(self, place: int) -> dict[str, Tensor]:
        return {"weight": self._cached("weight", place, lambda: self.layer.weight + self.changes[place]())}

    def _cached(self, what: str, place: int, make: Callable[[], Tensor]) -> Tensor:
        value = self.cache.get((what, place))
        if value is None:
            value = make()
            size = value.numel() * value.element_size()
            if size <= self.room.num_bytes:
                self.room.num_bytes -= size
                self.cache[what, place] = value
        return value

    def _forget(self) -> None:
        self.room.num_bytes += sum(t.numel() * t.element_size() for t in self.cache.values())
        self.cache.clear()

    def _stacked(self, whole: Tensor, out: Tensor) -> Tensor:
        """The layer's output plus each row's input through its change, in one product of matrices for training."""
        import torch
        import torch.nn.functional as F

        changes = torch.stack([change() for change in self.changes.values()])  # [subjects, out, in, …]
        at = None
        if not self.rows.all_of(self.place_of):
            at, mine = self.rows.of(self.place_of)
            changes = changes[mine]
        if not len(changes):
            return out
        x = whole if at is None or len(at) == len(whole) else whole[at]
        if changes.ndim == 3:
            more = torch.bmm(x.reshape(len(changes), -1, x.shape[-1]), changes.mT.to(x.dtype))
        else:
            groups, each, layer = len(changes), len(x) // len(changes), self.layer
            beside = x.view(groups, each, *x.shape[1:]).transpose(0, 1).reshape(each, -1, *x.shape[2:])
            more = F.conv2d(beside, changes.flatten(0, 1), None, layer.stride, layer.padding, layer.dilation, groups)
            more = more.view(each, groups, -1, *more.shape[2:]).transpose(0, 1)
        if at is None or len(at) == len(out):
            return out + more.reshape(out.shape)
        return out.index_add(0, at, more.reshape(len(at), *out.shape[1:]))


def in_place_of(
    weight: Tensor, own: Mapping[str, Tensor], change: Change, scale: float, live: Live
) -> tuple[Callable[..., None], Callable[..., None]]:
    """Two hooks: one before the layer sets W' as an attribute found ahead of its own weight, one after removes it.

    weight: the layer's weight W
    own: parameters by name
    change: parameters -> the change of the weight
    scale: strength of the change
    live: the attached modifier, which may be inactive
    """
    cache = Kept()

    def before(layer: nn.Module, _: Any) -> None:
        if not live.on:
            return
        cache.check([weight, *own.values()])
        now = layer.__dict__.get("weight")  # set by another change of this layer
        if now is None:
            if "weight" not in cache.values:
                cache.values["weight"] = weight + scale * change(own)
            layer.__dict__["weight"] = cache.values["weight"]
            return
        if "change" not in cache.values:
            cache.values["change"] = scale * change(own)
        layer.__dict__["weight"] = now + cache.values["change"]

    def after(layer: nn.Module, *_: Any) -> None:
        layer.__dict__.pop("weight", None)

    return before, after


def hadamard(rank: int, *, alpha: float | None = None) -> Kind:
    """(alpha / rank) (A1 B1) * (A2 B2), element by element, with A2 zero at first (LoHa, arXiv:2309.14859).

    The product of two matrices is FedPara's (Eq. 4 of arXiv:2108.06098). Its rank may reach rank squared.

    rank: rank of each of the two matrices
    alpha: scale of the change is alpha / rank; None is alpha = rank
    """

    def kind(weight: Tensor, generator: Generator) -> tuple[dict[str, Tensor], Change]:
        import torch

        out, wide = weight.shape[0], weight[0].numel()
        sizes = {"a1": (out, rank), "b1": (rank, wide), "a2": (out, rank), "b2": (rank, wide)}
        spread = {"a1": 0.1, "b1": 1.0, "a2": 0.0, "b2": 1.0}
        start = {name: torch.randn(size, generator=generator) * spread[name] for name, size in sizes.items()}
        factor = (alpha or rank) / rank

        def change(own: Mapping[str, Tensor]) -> Tensor:
            return (factor * (own["a1"] @ own["b1"]) * (own["a2"] @ own["b2"])).view_as(weight)

        return start, change

    kind.alpha = alpha or rank  # type: ignore[attr-defined]  # for writing the factors into files
    return kind


def kronecker(factor: int = -1) -> Kind:
    """C kron D with out = a c and in = b d, D zero at first (LoKr, arXiv:2309.14859; KronA, Eq. 4 of arXiv:2212.10650).

    factor: size of C's sides, divided as in LyCORIS; -1 is near the square root
    """

    def kind(weight: Tensor, generator: Generator) -> tuple[dict[str, Tensor], Change]:
        import torch

        (a, c), (b, d) = (factorised(size, factor) for size in weight.shape[:2])
        kernel = weight.shape[2:]
        start = {"c": torch.randn(a, b, generator=generator), "d": torch.zeros(c, d, *kernel)}

        def change(own: Mapping[str, Tensor]) -> Tensor:
            small = own["c"].reshape(a, b, *(1 for _ in kernel))
            return torch.kron(small, own["d"])

        return start, change

    return kind


def factorised(size: int, factor: int = -1) -> tuple[int, int]:
    """A size as a product of two factors, the first at most the second, divided as in LyCORIS and PEFT
    (`factorization`).

    The factors are `factor` and the rest where `factor` divides the size; otherwise they are the nearest to a square
    whose first is at most `factor`.

    size: the size, 1 or more
    factor: wanted factor; -1 allows any
    """
    if factor > 0 and size % factor == 0:
        return min(factor, size // factor), max(factor, size // factor)
    limit = math.isqrt(size) if factor < 0 else min(factor, math.isqrt(size))
    first = next(k for k in range(limit, 0, -1) if size % k == 0)
    return first, size // first


def orthogonal(blocks: int = 4, *, radius: float = 0.0) -> Kind:
    """W' = W R^T with R block-diagonal and orthogonal: lengths of rows and angles between them stay (OFT).

    R is Cayley's map (I - S)(I + S)^-1 of the skew part of learned matrices that start at zero (Eq. 4 and 7 of
    arXiv:2306.07280).

    The limit of COFT grows with the matrices, as `eps` does in Zeju1997/oft: the norm of a matrix with n entries is at
    most radius * n / sqrt(blocks). The authors project the matrices before every use; here a longer matrix is scaled
    as it is read, so its own length gets no gradient.

    blocks: number of blocks, a divisor of every layer's inputs
    radius: COFT's limit for each entry of the learned matrices; 0 is no limit (OFT)
    """

    def rotation(free: Tensor) -> Tensor:
        import torch

        if radius:
            most = radius * free[0].numel() / blocks**0.5
            size = free.flatten(1).norm(dim=1).view(-1, 1, 1)
            free = free * (most / size.clamp_min(most))
        skew = (free - free.mT) / 2
        one = torch.eye(free.shape[-1], dtype=free.dtype, device=free.device).expand_as(skew)
        rotations: Tensor = torch.linalg.solve(one + skew, one - skew)
        return rotations

    def kind(weight: Tensor, generator: Generator) -> tuple[dict[str, Tensor], Change]:
        import torch

        wide = weight[0].numel()
        if wide % blocks:
            raise InputError(f"{blocks} blocks do not divide the {wide} inputs of a layer; choose a divisor of all")
        side = wide // blocks

        def change(own: Mapping[str, Tensor]) -> Tensor:
            turned = rotation(own["turn"])
            rows = weight.reshape(len(weight), blocks, side)
            return (torch.einsum("obi,bji->obj", rows, turned) - rows).reshape(weight.shape)

        return {"turn": torch.zeros(blocks, side, side)}, change

    kind.rotation = rotation  # type: ignore[attr-defined]  # for writing rotations into files
    return kind


def spectral() -> Kind:
    """U diag(relu(sigma + delta)) V^T: the singular values of a weight shift, its singular vectors stay.

    SVDiff, Eq. 4 of arXiv:2303.11305. Weights of convolutions are matrices [out, in * kernel].
    """

    def kind(weight: Tensor, generator: Generator) -> tuple[dict[str, Tensor], Change]:
        import torch

        from limner.core.weight_cache import of_weight

        left, values, right = of_weight(
            "svd", weight, lambda: torch.linalg.svd(weight.flatten(1).float(), full_matrices=False)
        )

        def change(own: Mapping[str, Tensor]) -> Tensor:
            shift = torch.relu(values + own["delta"]) - values
            return ((left * shift) @ right).view_as(weight)

        return {"delta": torch.zeros_like(values).cpu()}, change

    return kind


def multiplied(count: int = 3) -> Kind:
    """W * (1 + R C), element by element: the weight offsets of E4T (arXiv:2302.12228).

    Every weight is scaled by 1 plus a sum of outer products of a vector over rows and one over columns, R [out, count]
    and C [count, in * kernel]. In E4T (and in mkshing/e4t-diffusion) the outer product of two vectors passes a linear
    layer over its rows and one over its columns, with biases; all of that is constant, and three outer products express
    the same. R is zero at first.

    count: number of outer products
    """

    def kind(weight: Tensor, generator: Generator) -> tuple[dict[str, Tensor], Change]:
        import torch

        columns = torch.randn(count, weight[0].numel(), generator=generator)
        columns[0] = 1.0  # the first product scales whole rows

        def change(own: Mapping[str, Tensor]) -> Tensor:
            return weight * (own["rows"] @ own["columns"]).view_as(weight)

        return {"rows": torch.zeros(len(weight), count), "columns": columns}, change

    return kind
