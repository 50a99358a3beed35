"""Changes of layers as files of several tools hold them (LoRA, LoHa, LoKr, DoRA, whole differences), by whatever
suffixes.

Files of every tool are converted to the few forms that limner attaches, in the layer's own shape and at the strength
that the tool gives: alpha over rank, for LoKr where a factor is itself a product (LyCORIS 4.1, modules/lokr.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from limner.bases.common.names import Target, known_names, table
from limner.core.wording import counted
from limner.errors import FileError

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base

KINDS: dict[str, dict[str, str]] = {  # kind -> name of a factor -> the suffix that is written
    "lora": {"down": ".lora_down.weight", "up": ".lora_up.weight"},
    "loha": {"a1": ".hada_w1_a", "b1": ".hada_w1_b", "a2": ".hada_w2_a", "b2": ".hada_w2_b"},
    "lokr": {"c": ".lokr_w1", "d": ".lokr_w2"},
}
MORE = {
    ".lora_A.weight": ("lora", "down"),
    ".lora_B.weight": ("lora", "up"),
    ".lora_A.default.weight": ("lora", "down"),
    ".lora_B.default.weight": ("lora", "up"),
    ".lora.down.weight": ("lora", "down"),
    ".lora.up.weight": ("lora", "up"),
    ".lora_linear_layer.down.weight": ("lora", "down"),
    ".lora_linear_layer.up.weight": ("lora", "up"),
    ".down.weight": ("lora", "down"),
    ".up.weight": ("lora", "up"),
    ".lora_mid.weight": ("lora", "mid"),
    ".hada_t1": ("loha", "t1"),
    ".hada_t2": ("loha", "t2"),
    ".lokr_w1_a": ("lokr", "c_a"),
    ".lokr_w1_b": ("lokr", "c_b"),
    ".lokr_w2_a": ("lokr", "d_a"),
    ".lokr_w2_b": ("lokr", "d_b"),
    ".lokr_t2": ("lokr", "t2"),
    ".diff": ("whole", "weight"),
    ".w_norm": ("whole", "weight"),
    ".diff_b": ("whole", "bias"),
    ".b_norm": ("whole", "bias"),
    ".alpha": ("", "alpha"),
    ".scalar": ("", "scalar"),
    ".dora_scale": ("", "magnitude"),
    ".lora_magnitude_vector": ("", "magnitudes"),
    ".lora_magnitude_vector.weight": ("", "magnitudes"),
    ".lora_magnitude_vector.default.weight": ("", "magnitudes"),
}
"""Suffixes that are read: of a kind, or (with none) beside whichever kind a layer has."""
SUFFIXES = {suffix: (kind, name) for kind, names in KINDS.items() for name, suffix in names.items()} | MORE
UNREAD = {
    ".oft_blocks": "OFT or BOFT of LyCORIS and sd-scripts",
    ".oft_diag": "OFT of LyCORIS",
    ".on_input": "(IA)3",
    ".a1.weight": "GLoRA",
    ".b1.weight": "GLoRA",
    ".a2.weight": "GLoRA",
    ".b2.weight": "GLoRA",
    ".up_list.0": "DyLoRA before its blocks are joined",
    ".boft_R": "BOFT",
    ".lora_B.bias": "LoRA with a bias of its own",
    ".set_weight": "whole weights",
}
"""Suffixes of kinds that limner does not read, for the message of a refusal."""

Told = Callable[[str, int], float | None]
"""Stem and rank (0 of whole matrices) -> how strongly the file's header, or the settings beside it, say that the change
counts; None where they do not."""


@dataclass
class Change:
    """A change of one layer: its factors, and alpha as the file has it (None where it has none).

    For "lora" and "loha", alpha over rank counts; "lokr" is the Kronecker product of `c` and `d`, restricted to `rows`
    where given; "oft" turns the inputs by `rotation`. `magnitude` makes it the weight-decomposed form (DoRA).
    """

    kind: str
    factors: dict[str, Tensor]
    alpha: Tensor | None = None

    @property
    def rank(self) -> int:
        if self.kind == "lora":
            return int(self.factors["down"].shape[0])
        return int(self.factors["b1"].shape[0]) if self.kind == "loha" else 0

    @property
    def strength(self) -> float:
        """Strength of the factors' product: alpha / rank; for LoKr, 1."""
        return float(self.alpha) / self.rank if self.alpha is not None and self.rank else 1.0


@dataclass
class Report:
    """The fate of every key of a file."""

    read: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)  # limner has no use for these keys
    missing: list[str] = field(default_factory=list)  # other keys of the file need these

    def __str__(self) -> str:
        lines = [f"{counted(len(self.read), 'key')} read, {len(self.ignored)} ignored, {len(self.missing)} missing"]
        for what, keys in (("ignored", self.ignored), ("missing", self.missing)):
            kinds = [unread_kind(key) if what == "ignored" else "" for key in keys[:8]]
            lines += [f"  {what}: {key}{f' ({kind})' if kind else ''}" for key, kind in zip(keys, kinds, strict=False)]
            lines += [f"  … and {len(keys) - 8} more {what}"] if len(keys) > 8 else []
        return "\n".join(lines)

    @property
    def whole(self) -> bool:
        return not self.ignored and not self.missing


@dataclass
class Found:
    """The changes in a file: by layer, and new values of whole parameters by name."""

    changes: dict[str, Change] = field(default_factory=dict)
    values: dict[str, Tensor] = field(default_factory=dict)
    report: Report = field(default_factory=Report)


def unread_kind(key: str) -> str:
    """The kind of change of a key that limner does not read; empty for any other key."""
    return next((what for suffix, what in UNREAD.items() if key.endswith(suffix)), "")


def read_changes(base: Base, tensors: Mapping[str, Tensor], strength_of: Told | None = None) -> Found:
    """Layer of the base -> its change, from the keys of any tool that is known for the base. Raises `FileError` for
    factors that do not fit their layer."""
    names, contents = known_names(base), Found()
    parts: dict[str, dict[tuple[str, str], Tensor]] = {}
    for key, tensor in tensors.items():
        stem, suffix = parted(key)
        if stem in names and suffix:
            parts.setdefault(stem, {})[SUFFIXES[suffix]] = tensor
            contents.report.read.append(key)
        else:
            contents.report.ignored.append(key)
    for stem, own in parts.items():
        kinds = dict.fromkeys(kind for kind, _ in own if kind)
        beside = {name: tensor for (kind, name), tensor in own.items() if not kind}
        for kind in kinds:
            factors = {name: tensor for (k, name), tensor in own.items() if k == kind}
            _add(base, contents, stem, names[stem], kind, factors, beside, strength_of)
        if not kinds:
            _without_change(contents.report, tensors, stem, beside)
    return contents


def _without_change(report: Report, tensors: Mapping[str, Tensor], stem: str, beside: Mapping[str, Tensor]) -> None:
    """Report the keys of a stem whose change is missing: an alpha as incomplete, all others as ignored."""
    if "alpha" in beside:
        report.missing.append(f"{stem}: an alpha without a change")
    useless = [key for key in tensors if parted(key)[0] == stem and not key.endswith(".alpha")]
    report.read = [key for key in report.read if key not in useless]
    report.ignored += useless


def parted(key: str) -> tuple[str, str]:
    """Stem and suffix; the longest suffix that fits."""
    suffix = max((suffix for suffix in SUFFIXES if key.endswith(suffix)), key=len, default="")
    return (key.removesuffix(suffix), suffix) if suffix else (key, "")


def _add(
    base: Base,
    contents: Found,
    stem: str,
    targets: Sequence[Target],
    kind: str,
    factors: dict[str, Tensor],
    beside: Mapping[str, Tensor],
    strength_of: Told | None,
) -> None:
    if kind == "whole":
        contents.values |= _values(base, stem, targets, factors)
        return
    lacking = _lacking(kind, factors)
    if lacking:
        contents.report.missing += [f"{stem}{KINDS[kind][name]}" for name in lacking]
        return
    shape = _shape(base, targets)
    change = _MAKERS[kind](stem, factors, shape)
    _strengthen(stem, change, change.rank or _rank_of_product(factors), beside, strength_of)
    magnitude = _magnitude(stem, beside, shape)
    if magnitude is not None:
        change.factors["magnitude"] = magnitude
    contents.changes |= _divided(stem, change, targets)


def _strengthen(stem: str, change: Change, rank: int, beside: Mapping[str, Tensor], strength_of: Told | None) -> None:
    """Apply the alpha beside a change, or from the header. For LoKr, the strength is alpha over the rank of a product,
    and 1 where both factors are whole; the small factor is multiplied by it."""
    import torch

    numbers = {name: beside[name] for name in ("alpha", "scalar") if name in beside}
    for name, tensor in numbers.items():
        if tensor.numel() != 1:
            raise FileError(f"the {name} of {stem} is {tuple(tensor.shape)}; expected one number: it is damaged")
    alpha, scalar = numbers.get("alpha"), float(numbers["scalar"]) if "scalar" in numbers else 1.0
    from_header = strength_of(stem, rank) if strength_of is not None and alpha is None else None
    if change.kind == "lokr":
        own = float(alpha) / rank if alpha is not None and rank else from_header or 1.0
        if own * scalar != 1:
            change.factors["c"] = change.factors["c"] * (own * scalar)
        return
    if from_header is not None:
        alpha = torch.tensor(from_header * rank)
    if scalar != 1:
        alpha = scalar * (alpha if alpha is not None else torch.tensor(float(rank)))
    change.alpha = alpha


def _rank_of_product(factors: Mapping[str, Tensor]) -> int:
    """The rank of LoKr's factors that are products; 0 where none is."""
    return next((len(factors[name]) for name in ("c_b", "d_b") if name in factors), 0)


def _lacking(kind: str, factors: Mapping[str, Tensor]) -> list[str]:
    """Names of factors that a change of the kind cannot be without."""
    products = {"c": {"c_a", "c_b"}, "d": {"d_a", "d_b"}}
    return [name for name in KINDS[kind] if name not in factors and not products.get(name, {"?"}) <= factors.keys()]


def _shape(base: Base, targets: Sequence[Target]) -> tuple[int, ...]:
    """The shape of the matrix that holds the targets' rows."""
    first = _weight_shape(base, targets[0].layer)
    return (sum(_weight_shape(base, target.layer)[0] for target in targets), *first[1:])


def _weight_shape(base: Base, layer: str) -> tuple[int, ...]:
    """As the layer computes; quantised weights are stored in another."""
    part, _, path = layer.partition(".")
    module: Any = base.module(part).get_submodule(path)
    if hasattr(module, "in_features"):
        return int(module.out_features), int(module.in_features)
    return tuple(module.weight.shape)


def _fitted(stem: str, tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The tensor in a shape of as many numbers and rows: a matrix for a convolution of one pixel, or the other way."""
    if tensor.shape[:1] != shape[:1] or tensor.numel() != math.prod(shape):
        raise FileError(
            f"{stem} has {tuple(tensor.shape)} in the file and {shape} would fit the base: it is of another base"
        )
    return tensor.reshape(shape)


def _rank_of(stem: str, factor: Tensor, place: int = 0) -> int:
    if factor.ndim < 2 or not factor.shape[place]:
        raise FileError(
            f"a factor of {stem} is {tuple(factor.shape)}; expected a matrix of rank 1 or more: it is damaged"
        )
    return int(factor.shape[place])


def _lora(stem: str, factors: dict[str, Tensor], shape: tuple[int, ...]) -> Change:
    """B A; with a core (Tucker's form of convolutions) that goes into A."""
    import torch

    down, up = factors["down"], factors["up"]
    if "mid" in factors:  # [rank, rank, kernel] with [rank, in, 1, 1]
        mid, inner = factors["mid"], down.flatten(1)
        if mid.ndim < 3 or mid.shape[1] != len(inner):
            raise FileError(f"the core of {stem} is {tuple(mid.shape)} for {tuple(down.shape)}: it is damaged")
        down = torch.einsum("mn...,nj->mj...", mid, inner)
    rank, ones = _rank_of(stem, down), (1,) * (len(shape) - 2)
    down = _fitted(stem, down, (rank, *shape[1:]))
    if up.ndim < 2 or up.shape[1] != rank:
        raise FileError(f"the ranks of {stem} disagree: {rank} down and {tuple(up.shape)} up; it is damaged")
    return Change("lora", {"down": down, "up": _fitted(stem, up, (shape[0], rank, *ones))})


def _loha(stem: str, factors: dict[str, Tensor], shape: tuple[int, ...]) -> Change:
    """(A1 B1) * (A2 B2); in Tucker's form, B is multiplied by the core, and A is transposed."""
    made = {}
    for k in "12":
        a, b = factors[f"a{k}"], factors[f"b{k}"]
        if f"t{k}" in factors:
            a, b = a.mT, _with_core(stem, factors[f"t{k}"], b)
        rank = _rank_of(stem, b)
        made[f"a{k}"] = _fitted(stem, a, (shape[0], rank))
        made[f"b{k}"] = _fitted(stem, b.flatten(1), (rank, math.prod(shape[1:])))
    return Change("loha", {name: made[name].contiguous() for name in KINDS["loha"]})


def _with_core(stem: str, core: Tensor, wide: Tensor) -> Tensor:
    """[rank, in, kernel] of a core [rank, rank, kernel] and [rank, in]."""
    import torch

    if core.ndim < 3 or wide.ndim != 2 or core.shape[1] != len(wide):
        raise FileError(f"the core of {stem} is {tuple(core.shape)} for {tuple(wide.shape)}: it is damaged")
    return torch.einsum("ij...,jr->ir...", core, wide)


def _lokr(stem: str, factors: dict[str, Tensor], shape: tuple[int, ...]) -> Change:
    """C kron D, products multiplied out."""
    import torch

    def product(name: str) -> Tensor:
        if name in factors:
            return factors[name]
        left, right = factors[f"{name}_a"], factors[f"{name}_b"]
        if name == "d" and "t2" in factors:
            core = _with_core(stem, factors["t2"], right)
            if left.ndim != 2 or len(left) != len(core):
                raise FileError(f"the factors of {stem} do not fit each other: it is damaged")
            return torch.einsum("ip,ir...->pr...", left, core)
        if left.ndim != 2 or left.shape[1] != len(right):
            raise FileError(f"the factors of {stem} do not fit each other: it is damaged")
        return left @ right.flatten(1)

    c, d = product("c"), product("d")
    if c.ndim != 2 or d.ndim < 2 or not c.numel() or shape[0] % len(c) or shape[1] % c.shape[1]:
        raise FileError(
            f"{stem} has {tuple(c.shape)} and {tuple(d.shape)} in the file, which do not divide {shape}: it is of another base"
        )
    whole = (shape[0] // len(c), shape[1] // c.shape[1], *shape[2:])
    return Change("lokr", {"c": c.contiguous(), "d": _fitted(stem, d, whole).contiguous()})


_MAKERS = {"lora": _lora, "loha": _loha, "lokr": _lokr}


def _magnitude(stem: str, beside: Mapping[str, Tensor], shape: tuple[int, ...]) -> Tensor | None:
    """DoRA's lengths: [out, 1, …] of rows, or [1, in, …] of columns."""
    ones = (1,) * (len(shape) - 2)
    if "magnitudes" in beside:
        return _fitted(stem, beside["magnitudes"].flatten(), (shape[0],)).reshape(shape[0], 1, *ones)
    if "magnitude" not in beside:
        return None
    given = beside["magnitude"]
    if given.numel() == shape[1] and given.ndim > 1 and given.shape[0] == 1:
        return given.reshape(1, shape[1], *ones)
    return _fitted(stem, given.flatten(), (shape[0],)).reshape(shape[0], 1, *ones)


def _values(base: Base, stem: str, targets: Sequence[Target], parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parameters with whole differences added to them."""
    values = {}
    for end, difference in parts.items():
        for target in targets:
            part, _, path = target.layer.partition(".")
            now = getattr(base.module(part).get_submodule(path), end, None)
            if now is None or not now.dtype.is_floating_point:
                raise FileError(f"{stem} changes the {end} of a layer that has none here, or has it quantised")
            own = difference if target.rows is None else difference[target.rows]
            own = _fitted(stem, _half_turned(own, target), tuple(now.shape))
            values[f"{target.layer}.{end}"] = now.detach().float().cpu() + own.float()
    return values


def _half_turned(rows: Tensor, target: Target) -> Tensor:
    """Rows in our order of scale and shift."""
    import torch

    return torch.cat(rows.chunk(2)[::-1]) if target.swapped else rows


def _divided(stem: str, change: Change, targets: Sequence[Target]) -> dict[str, Change]:
    """A change of a matrix that is several layers here, given to each its rows."""
    if len(targets) == 1 and targets[0].rows is None and not targets[0].swapped:
        return {targets[0].layer: change}
    if change.factors.get("magnitude") is not None and change.factors["magnitude"].shape[0] == 1:
        raise FileError(
            f"{stem} has lengths of columns (DoRA) for a matrix that is {len(targets)} layers here: not read"
        )
    if change.kind == "lora" and len(targets) > 1 and "magnitude" not in change.factors:
        return _apart(change, targets)
    return {target.layer: _rows_of(change, target) for target in targets}


def _rows_of(change: Change, target: Target) -> Change:
    """The target's own rows of a change."""
    import torch

    rows = target.rows or slice(None)

    def own(tensor: Tensor) -> Tensor:
        return _half_turned(tensor[rows], target).contiguous()

    if change.kind == "lokr":
        high = len(change.factors["c"]) * len(change.factors["d"])
        factors = {**change.factors, "rows": own(torch.arange(high))}
    else:
        high_ones = {"up", "a1", "a2", "magnitude"}
        factors = {name: own(tensor) if name in high_ones else tensor for name, tensor in change.factors.items()}
    if "magnitude" in factors and change.kind == "lokr":
        factors["magnitude"] = own(factors["magnitude"])
    return replace(change, factors={name: tensor.clone() for name, tensor in factors.items()})


def _apart(change: Change, targets: Sequence[Target]) -> dict[str, Change]:
    """One that was joined from changes of the single layers comes apart into just those."""
    down, up = change.factors["down"], change.factors["up"]
    each, count = change.rank // len(targets), len(targets)
    blocks = [slice(k * each, (k + 1) * each) for k in range(count)]
    apart = change.rank == each * count and all(
        not bool(up[target.rows, block].any())
        for i, target in enumerate(targets)
        for j, block in enumerate(blocks)
        if i != j
    )
    changes = {}
    for target, block in zip(targets, blocks, strict=True):
        rows = up[target.rows]
        factors = {"down": down[block], "up": rows[:, block]} if apart else {"down": down, "up": rows}
        if apart and not any(bool(tensor.any()) for tensor in factors.values()):
            continue  # this layer had no change when the layers were joined
        factors = {name: tensor.contiguous().clone() for name, tensor in factors.items()}  # files share no memory
        alpha = None if change.alpha is None else change.alpha * (each / change.rank if apart else 1)
        changes[target.layer] = Change("lora", factors, alpha)
    return changes


def write_changes(base: Base, changes: Mapping[str, Change], dialect: str) -> dict[str, Tensor]:
    """Keys of a dialect for changes of layers. Raises `KeyError` with the layers that have no name in it, and with
    those of a matrix that cannot hold their changes."""
    left = dict(changes)
    tensors: dict[str, Tensor] = {}
    for stem, targets in table(base, dialect).items():
        own = {target.layer: left.pop(target.layer) for target in targets if target.layer in left}
        if own:
            plain = targets[0].rows is None and not targets[0].swapped
            tensors |= _keys(stem, own[targets[0].layer] if plain else _joined(own, targets), dialect)
    if left:
        raise KeyError(", ".join(left))
    return tensors


def _keys(stem: str, change: Change, dialect: str) -> dict[str, Tensor]:
    factors = dict(change.factors)
    magnitude = factors.pop("magnitude", None)
    if dialect == "diffusers":
        keys = {f"{stem}.lora_A.weight": factors["down"], f"{stem}.lora_B.weight": factors["up"]}
        return keys if magnitude is None else keys | {f"{stem}.lora_magnitude_vector": magnitude.flatten()}
    if dialect == "comfyui" and "." in stem and change.kind == "lora":
        keys = {f"{stem}.lora_A.weight": factors["down"], f"{stem}.lora_B.weight": factors["up"]}
    else:
        keys = {f"{stem}{KINDS[change.kind][name]}": tensor for name, tensor in factors.items()}
    if magnitude is not None:
        keys[f"{stem}.dora_scale"] = magnitude
    return keys | ({f"{stem}.alpha": change.alpha} if change.alpha is not None else {})


def _joined(own: Mapping[str, Change], targets: Sequence[Target]) -> Change:
    """Changes of single layers as one of the matrix that holds their rows: factors beside and below each other. Layers
    that have none get zeros."""
    import torch

    kinds = {change.kind for change in own.values()}
    decomposed = [layer for layer, change in own.items() if "magnitude" in change.factors]
    if len(kinds) > 1 or (decomposed and len(targets) > 1):
        raise KeyError(
            f"{', '.join(own)}: they lie in one matrix there, which cannot hold changes of these kinds together"
        )
    if kinds == {"lokr"}:
        return _joined_products(own, targets)
    names = ("down", "up") if kinds == {"lora"} else ("b1", "a1", "b2", "a2")
    pairs = [_joined_pair(own, targets, *names[k : k + 2], first=k == 0) for k in range(0, len(names), 2)]
    whole = {name: tensor for pair in pairs for name, tensor in pair.items()}
    rank = max(change.rank for change in own.values())
    strengths = {change.strength for change in own.values()}
    strength = strengths.pop() if len(strengths) == 1 else 1.0
    order = KINDS[kinds.pop()]
    some = next(iter(own.values()))
    more = {"magnitude": _half_turned(some.factors["magnitude"], targets[0])} if decomposed else {}
    alpha = torch.tensor(strength * rank * len(targets))
    return Change("lora" if "down" in order else "loha", {name: whole[name] for name in order} | more, alpha)


def _joined_pair(
    own: Mapping[str, Change], targets: Sequence[Target], wide: str, high: str, *, first: bool
) -> dict[str, Tensor]:
    """The factors [rank, in] of all layers beside each other, and those [out, rank] on a diagonal of blocks. Where
    strengths differ, each goes into its own factor of the first pair."""
    import torch

    like = next(iter(own.values())).factors[wide]
    rank = max(change.rank for change in own.values())
    several = len({change.strength for change in own.values()}) > 1
    downs, ups = [], []
    for target in targets:
        change = own.get(target.layer)
        tall = _height(target, change, high)
        down, up = like.new_zeros(rank, *like.shape[1:]), like.new_zeros(tall, rank)
        if change is not None:
            factor = change.strength if several and first else 1.0
            down[: change.rank] = change.factors[wide]
            up[:, : change.rank] = factor * _half_turned(change.factors[high].flatten(1), target)
        downs.append(down)
        ups.append(up)
    return {wide: torch.cat(downs), high: torch.block_diag(*ups)}


def _height(target: Target, change: Change | None, high: str) -> int:
    if target.rows is not None:
        return int(target.rows.stop - target.rows.start)
    assert change is not None  # a matrix of one layer is written for its change
    return len(change.factors[high])


def _joined_products(own: Mapping[str, Change], targets: Sequence[Target]) -> Change:
    """LoKr of one matrix whose rows were given to single layers, whole again."""
    import torch

    first = next(iter(own.values())).factors
    expected = [_half_turned(torch.arange(t.rows.stop)[t.rows], t) if t.rows else None for t in targets]
    whole = len(own) == len(targets) and all(
        rows is not None
        and "rows" in own[t.layer].factors
        and torch.equal(own[t.layer].factors["rows"].cpu(), rows)
        and all(torch.equal(own[t.layer].factors[name], first[name]) for name in "cd")
        for t, rows in zip(targets, expected, strict=True)
    )
    if not whole:
        raise KeyError(f"{', '.join(own)}: they lie in one matrix there, and Kronecker products do not join")
    return Change("lokr", {name: first[name] for name in "cd"})


def approximated(delta: Tensor, rank: int) -> tuple[Change, float]:
    """The nearest change of that rank to a full one [out, in, …] by its singular values, and the share of its length
    that is lost."""
    import torch

    left, values, right = torch.linalg.svd(delta.flatten(1).float(), full_matrices=False)
    root = values[:rank].sqrt()
    shape = delta.shape[2:]
    down = (root[:, None] * right[:rank]).view(-1, delta.shape[1], *shape)
    up = (left[:, :rank] * root).view(delta.shape[0], -1, *(1 for _ in shape))
    lost = float(values[rank:].norm() / values.norm().clamp_min(1e-12))
    return Change("lora", {"down": down.contiguous(), "up": up.contiguous()}, torch.tensor(float(down.shape[0]))), lost
