"""Low-rank changes of layers as files of several tools hold them: LoRA, LoHa and LoKr, by whatever suffixes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from limner.bases.names import DIALECTS, Target, table
from limner.wording import counted

if TYPE_CHECKING:
    from torch import Tensor

    from limner.bases.protocol import Base

KINDS: dict[str, dict[str, str]] = {  # kind -> name of a factor -> the suffix that is written
    "lora": {"down": ".lora_down.weight", "up": ".lora_up.weight"},
    "loha": {"a1": ".hada_w1_a", "b1": ".hada_w1_b", "a2": ".hada_w2_a", "b2": ".hada_w2_b"},
    "lokr": {"c": ".lokr_w1", "d": ".lokr_w2"},
}
OLDER = {
    ".lora_A.weight": ("lora", "down"),
    ".lora_B.weight": ("lora", "up"),
    ".lora_A.default.weight": ("lora", "down"),
    ".lora_B.default.weight": ("lora", "up"),
    ".lora.down.weight": ("lora", "down"),
    ".lora.up.weight": ("lora", "up"),
    ".lora_linear_layer.down.weight": ("lora", "down"),
    ".lora_linear_layer.up.weight": ("lora", "up"),
    ".lokr_w1_a": ("lokr", "c_a"),
    ".lokr_w1_b": ("lokr", "c_b"),
    ".lokr_w2_a": ("lokr", "d_a"),
    ".lokr_w2_b": ("lokr", "d_b"),
    ".down.weight": ("lora", "down"),
    ".up.weight": ("lora", "up"),
}
SUFFIXES = {suffix: (kind, name) for kind, names in KINDS.items() for name, suffix in names.items()} | OLDER
ALPHA = ".alpha"


@dataclass
class Change:
    """A change of one layer: its factors, and alpha as the file has it (None where it has none)."""

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
        """What the factors' product counts: alpha / rank; of LoKr in full matrices, 1."""
        return float(self.alpha) / self.rank if self.alpha is not None and self.rank else 1.0


@dataclass
class Report:
    """What became of every key of a file."""

    read: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)  # nothing here has a use for them
    missing: list[str] = field(default_factory=list)  # what is there asks for them

    def __str__(self) -> str:
        lines = [f"{counted(len(self.read), 'key')} read, {len(self.ignored)} ignored, {len(self.missing)} missing"]
        for what, keys in (("ignored", self.ignored), ("missing", self.missing)):
            lines += [f"  {what}: {key}" for key in keys[:8]]
            lines += [f"  … and {len(keys) - 8} more {what}"] if len(keys) > 8 else []
        return "\n".join(lines)

    @property
    def whole(self) -> bool:
        return not self.ignored and not self.missing


def read_changes(base: Base, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Change], Report]:
    """Layer of the base -> its change, from the keys of any dialect that is known for the base."""
    tables = {stem: targets for dialect in reversed(DIALECTS) for stem, targets in table(base, dialect).items()}
    report = Report()
    stems: dict[tuple[str, str], dict[str, Tensor]] = {}
    alphas: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        stem, suffix = _parted(key)
        if stem in tables and suffix == ALPHA:
            alphas[stem] = tensor
            report.read.append(key)
        elif stem in tables and suffix in SUFFIXES:
            kind, name = SUFFIXES[suffix]
            stems.setdefault((stem, kind), {})[name] = tensor
            report.read.append(key)
        else:
            report.ignored.append(key)
    found: dict[str, Change] = {}
    for (stem, kind), parts in stems.items():
        factors = _whole(kind, parts)
        alpha = alphas.pop(stem, None)
        lacking = [name for name in KINDS[kind] if name not in factors]
        if lacking:
            report.missing += [f"{stem}{KINDS[kind][name]}" for name in lacking]
            continue
        change = Change(kind, factors, alpha)
        found |= _divided(change, tables[stem])
    report.missing += [f"{stem}: an alpha without a change" for stem in alphas]
    return found, report


def _parted(key: str) -> tuple[str, str]:
    """Stem and suffix; the longest suffix that fits."""
    fits = [suffix for suffix in (*SUFFIXES, ALPHA) if key.endswith(suffix)]
    suffix = max(fits, key=len, default="")
    return (key.removesuffix(suffix), suffix) if suffix else (key, "")


def _whole(kind: str, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """LoKr's factors multiplied out where they come as products."""
    factors = dict(parts)
    if kind == "lokr":
        for name in ("c", "d"):
            if name not in factors and {f"{name}_a", f"{name}_b"} <= factors.keys():
                factors[name] = factors.pop(f"{name}_a") @ factors.pop(f"{name}_b")
    return factors


def _divided(change: Change, targets: Sequence[Target]) -> dict[str, Change]:
    """A change of a matrix that is several layers here, given to each its rows. One that was joined from changes of the
    single layers comes apart into just those."""
    if len(targets) == 1 and targets[0].rows is None:
        return {targets[0].layer: change}
    down, up = change.factors["down"], change.factors["up"]
    each, count = change.rank // len(targets), len(targets)
    blocks = [slice(k * each, (k + 1) * each) for k in range(count)]
    apart = change.rank == each * count and all(
        not bool(up[target.rows, block].any())
        for i, target in enumerate(targets)
        for j, block in enumerate(blocks)
        if i != j
    )
    found = {}
    for target, block in zip(targets, blocks, strict=True):
        rows = up[target.rows]
        factors = {"down": down[block], "up": rows[:, block]} if apart else {"down": down, "up": rows}
        if apart and not any(bool(tensor.any()) for tensor in factors.values()):
            continue  # a layer that had no change of its own when they were joined
        factors = {name: tensor.contiguous() for name, tensor in factors.items()}
        alpha = None if change.alpha is None else change.alpha * (each / change.rank if apart else 1)
        found[target.layer] = Change("lora", factors, alpha)
    return found


def write_changes(base: Base, changes: Mapping[str, Change], dialect: str) -> dict[str, Tensor]:
    """Keys of a dialect for changes of layers. Raises `KeyError` with the layers that have no name in it."""
    left = dict(changes)
    found: dict[str, Tensor] = {}
    for stem, targets in table(base, dialect).items():
        own = {target.layer: left.pop(target.layer) for target in targets if target.layer in left}
        if own:
            change = own[targets[0].layer] if targets[0].rows is None else _joined(own, targets)
            found |= _keys(stem, change, dialect)
    if left:
        raise KeyError(", ".join(left))
    return found


def _keys(stem: str, change: Change, dialect: str) -> dict[str, Tensor]:
    if dialect == "diffusers":
        return {f"{stem}.lora_A.weight": change.factors["down"], f"{stem}.lora_B.weight": change.factors["up"]}
    if dialect == "comfyui" and "." in stem:
        keys = {f"{stem}.lora_A.weight": change.factors["down"], f"{stem}.lora_B.weight": change.factors["up"]}
    else:
        keys = {f"{stem}{KINDS[change.kind][name]}": tensor for name, tensor in change.factors.items()}
    return keys | ({f"{stem}{ALPHA}": change.alpha} if change.alpha is not None else {})


def _joined(own: Mapping[str, Change], targets: Sequence[Target]) -> Change:
    """Changes of single layers as one of the matrix that holds their rows: factors beside and below each other. Layers that
    have none get zeros."""
    import torch

    some = next(iter(own.values()))
    rank = max(change.rank for change in own.values())
    wide, like = some.factors["down"].shape[1], some.factors["down"]
    strengths = {change.strength for change in own.values()}
    downs, ups = [], []
    for target in targets:
        assert target.rows is not None
        high = target.rows.stop - target.rows.start
        change = own.get(target.layer)
        down, up = like.new_zeros(rank, wide), like.new_zeros(high, rank)
        if change is not None:
            factor = 1.0 if len(strengths) == 1 else change.strength
            down[: change.rank], up[:, : change.rank] = change.factors["down"], factor * change.factors["up"]
        downs.append(down)
        ups.append(up)
    whole = {"down": torch.cat(downs), "up": torch.block_diag(*ups)}
    strength = strengths.pop() if len(strengths) == 1 else 1.0
    return Change("lora", whole, torch.tensor(strength * rank * len(targets)))


def approximated(delta: Tensor, rank: int) -> tuple[Change, float]:
    """The nearest change of that rank to a full one [out, in, …] by its singular values, and the share of its length that is
    lost."""
    import torch

    left, values, right = torch.linalg.svd(delta.flatten(1).float(), full_matrices=False)
    root = values[:rank].sqrt()
    shape = delta.shape[2:]
    down = (root[:, None] * right[:rank]).view(-1, delta.shape[1], *shape)
    up = (left[:, :rank] * root).view(delta.shape[0], -1, *(1 for _ in shape))
    lost = float(values[rank:].norm() / values.norm().clamp_min(1e-12))
    return Change("lora", {"down": down.contiguous(), "up": up.contiguous()}, torch.tensor(float(down.shape[0]))), lost
