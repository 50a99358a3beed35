"""Folders of PEFT (`adapter_config.json` beside `adapter_model.safetensors`): LoRA, DoRA, LoHa, LoKr and OFT, in and
out.

One folder is one network. Settings and names are those of PEFT 0.21 (peft/tuners/*/config.py and layer.py).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.bases.common.names import table
from limner.core.tensor_files import read_tensors
from limner.core.untrusted import read_json
from limner.errors import FileError, InputError
from limner.parts.modifiers.weight_changes import factorised

from .changes import KINDS, Change, Told, parted

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base

CONFIG, WEIGHTS, PREFIX = "adapter_config.json", "adapter_model.safetensors", "base_model.model."
TURN = ".oft_R.weight"
TYPES = {"LORA": "lora", "LOHA": "loha", "LOKR": "lokr", "OFT": "oft"}
"""PEFT's types -> kinds of changes."""


def is_folder(path: Path) -> bool:
    """Whether a path is such a folder, or the weights in one."""
    return (path / CONFIG).is_file() or (path.name == WEIGHTS and path.with_name(CONFIG).is_file())


def read_folder(path: Path, base: Base) -> tuple[dict[str, Tensor], dict[str, Change], Told]:
    """The tensors under names that begin with their network's part, changes that are there already (OFT's rotations),
    and what the settings say of strengths. Raises `FileError` for settings of a kind that is not read."""
    folder = path if path.is_dir() else path.parent
    config = _config(folder / CONFIG)
    _, tensors = read_tensors(folder / WEIGHTS, what="PEFT adapter")
    bare = {key.removeprefix(PREFIX): tensor for key, tensor in tensors.items()}
    part = _part_of(base, folder, list(bare))
    if config["peft_type"] == "OFT":
        return {}, _turns(base, part, bare, config, folder), lambda *_: None
    renamed = {f"{part}.{key}": tensor for key, tensor in bare.items()}
    strength = strengths(config, folder)
    return _in_diffusers(base, part, renamed), {}, lambda stem, rank: strength(stem.partition(".")[2], rank)


def strengths(config: Mapping[str, Any], where: object) -> Told:
    """Name of a layer and its rank -> alpha / rank as PEFT's settings give it, or alpha / sqrt(rank) with `use_rslora`;
    patterns of names come first. Raises `FileError` for settings that are no numbers or patterns that are more than
    names."""
    patterns = [_patterns(config.get(key), where) for key in ("rank_pattern", "alpha_pattern")]

    def strength(name: str, rank: int) -> float | None:
        r = _first(patterns[0], name, rank or config.get("r"))
        alpha = _first(patterns[1], name, config.get("lora_alpha", config.get("alpha")))
        if alpha is None:
            return None
        r = rank or r
        if not _number(r) or not _number(alpha) or r <= 0:
            raise FileError(
                f"{where} gives {name} the rank {r!r} and the alpha {alpha!r}; expected numbers: it is damaged"
            )
        return float(alpha) / (math.sqrt(r) if config.get("use_rslora") else r)

    return strength


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _patterns(patterns: object, where: object) -> dict[str, Any]:
    if not patterns:
        return {}
    if not isinstance(patterns, dict):
        raise FileError(f"{where} has patterns that are no table of names: it is damaged")
    strange = [key for key in patterns if not re.fullmatch(r"\^?[\w.\-\\]+", key)]
    if strange:
        raise FileError(f"{where} sets strengths by the pattern {strange[0][:60]!r}; only names of layers are read")
    return {key.replace("\\", ""): value for key, value in patterns.items()}


def _first(pattern: Mapping[str, Any], name: str, otherwise: Any) -> Any:
    """The value of the first entry that is the name, or its end at a dot; with ^, only the whole name."""
    for key, value in pattern.items():
        if name == key.removeprefix("^") or (not key.startswith("^") and name.endswith(f".{key}")):
            return value
    return otherwise


def _config(file: Path) -> dict[str, Any]:
    config = read_json(file)
    if not isinstance(config, dict) or config.get("peft_type") not in TYPES:
        kind = config.get("peft_type") if isinstance(config, dict) else type(config).__name__
        raise FileError(f"{file} is of the type {kind!r}; expected one of {', '.join(TYPES)}")
    for key in ("fan_in_fan_out", "coft", "lora_bias"):
        if config.get(key):
            raise FileError(f"{file} has {key}, which is not read here")
    return config


def _part_of(base: Base, folder: Path, names: Sequence[str]) -> str:
    """Which network a folder is of: the one it is named for, or whose layers it names."""
    parts = [part for part in base.parts if part == "denoiser" or part.startswith("text_encoder")]
    if folder.name in parts:
        return folder.name
    stems = {_stem(name) for name in names}
    counts = {part: sum(_has(base, part, stem) for stem in stems) for part in parts}
    best = max(parts, key=lambda part: counts[part])
    if not counts[best]:
        raise FileError(
            f"{folder} names no layer of {base.name} ({base.family}): its first key is {next(iter(names), 'missing')}. Does it "
            "belong to another base?"
        )
    return best


def _stem(name: str) -> str:
    return name.removesuffix(TURN) if name.endswith(TURN) else parted(name)[0]


def _has(base: Base, part: str, stem: str) -> bool:
    names = {name for name, _ in base.module(part).named_modules()}
    return stem in names or stem.removeprefix("text_model.") in names


def _in_diffusers(base: Base, part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names as diffusers' pipelines begin them, which all bases' tables have."""
    prefix = next(iter(table(base, "diffusers"))).partition(".")[0] if part == "denoiser" else part
    return {f"{prefix}.{key.partition('.')[2]}": tensor for key, tensor in tensors.items()}


# ------------------------------------------------------------------------------------------------------------------ OFT


def _turns(
    base: Base, part: str, tensors: Mapping[str, Tensor], config: Mapping[str, Any], folder: Path
) -> dict[str, Change]:
    """The rotations of linear layers' inputs."""
    changes = {}
    for key, free in tensors.items():
        name = key.removesuffix(TURN)
        layer: Any = dict(base.module(part).named_modules()).get(name)
        if not key.endswith(TURN) or not hasattr(layer, "in_features"):
            raise FileError(f"{folder} turns {key}, which is no linear layer of {base.name} ({base.family})")
        changes[f"{part}.{name}"] = Change("oft", {"rotation": _rotations(key, free, layer.in_features, config)})
    return changes


def _rotations(key: str, free: Tensor, wide: int, config: Mapping[str, Any]) -> Tensor:
    """[blocks, side, side] of the upper triangles [blocks, side (side - 1) / 2]: Cayley's map, or the series in its
    place."""
    import torch

    side = round((1 + math.sqrt(1 + 8 * free.shape[-1])) / 2) if free.ndim == 2 else 0
    if side < 2 or side * (side - 1) // 2 != free.shape[1] or wide % side:
        raise FileError(f"{key} is {tuple(free.shape)}, which are no blocks of {wide} inputs: it is of another base")
    blocks = wide // side
    if len(free) == 1:  # shared by all blocks
        free = free.expand(blocks, -1)
    if len(free) != blocks:
        raise FileError(
            f"{key} has {len(free)} blocks of {side}, and {wide} inputs want {blocks}: it is of another base"
        )
    rows, columns = torch.triu_indices(side, side, 1)
    upper = free.new_zeros(blocks, side, side).float()
    upper[:, rows, columns] = free.float()
    skew, one = upper - upper.mT, torch.eye(side)
    if not config.get("use_cayley_neumann", True):
        return torch.linalg.solve(one + skew, one - skew, left=False)
    terms, power = int(config.get("num_cayley_neumann_terms", 5)), one.expand_as(skew)
    whole = one.expand_as(skew).clone()
    for k in range(1, min(terms, 64)):
        power = power @ skew
        whole += power if k == terms - 1 and terms > 2 else 2 * power
    return whole


def _free_of(change: Change) -> Tensor:
    """The upper triangles of the skew matrices whose Cayley's map the rotations are."""
    import torch

    turned = change.factors["rotation"].float()
    one = torch.eye(turned.shape[-1])
    if float((turned @ turned.mT - one).abs().max()) > 1e-4:  # a series that was cut short
        raise InputError(
            "these matrices are a truncated series and no exact rotations; only PEFT's own folders can describe them"
        )
    skew = torch.linalg.solve(one + turned, one - turned)
    side = turned.shape[-1]
    rows, columns = torch.triu_indices(side, side, 1)
    return skew[:, rows, columns]


# ------------------------------------------------------------------------------------------------------------------ out


def folders(base: Base, changes: Mapping[str, Change]) -> dict[str, tuple[dict[str, Any], dict[str, Tensor]]]:
    """Part -> the settings and tensors of its folder. Raises `InputError` for changes that one folder cannot hold."""
    parts: dict[str, dict[str, Change]] = {}
    for layer, change in changes.items():
        part, _, name = layer.partition(".")
        parts.setdefault(part, {})[name] = change
    return {part: _folder(base, part, own) for part, own in parts.items()}


def _folder(base: Base, part: str, own: Mapping[str, Change]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    kinds = {change.kind for change in own.values()}
    decomposed = {"magnitude" in change.factors for change in own.values()}
    if len(kinds) > 1 or len(decomposed) > 1:
        raise InputError(
            f"a folder of PEFT holds changes of one kind; these of {part} are {' and '.join(sorted(kinds))}"
        )
    kind = kinds.pop()
    if decomposed == {True} and (kind != "lora" or any(c.factors["magnitude"].shape[0] == 1 for c in own.values())):
        raise InputError("PEFT decomposes LoRA by lengths of rows alone; export to kohya or comfyui")
    if any("rows" in change.factors for change in own.values()):
        raise InputError("these Kronecker products are of matrices that hold several layers; PEFT has no such layers")
    settings = {
        "peft_type": next(name for name, each in TYPES.items() if each == kind),
        "auto_mapping": None, "base_model_name_or_path": base.name, "inference_mode": True, "task_type": None,
        "revision": None, "target_modules": _targets(base, part, own),
    }  # fmt: skip
    tensors: dict[str, Tensor] = {}
    for name, change in own.items():
        tensors |= {f"{PREFIX}{name}{end}": tensor for end, tensor in _tensors(change).items()}
    return settings | _settings(kind, own), tensors


def _targets(base: Base, part: str, own: Mapping[str, Change]) -> list[str] | str:
    """The layers' names; as one pattern where a name is the end of another layer's."""
    others = [name for name, _ in base.module(part).named_modules() if name not in own]
    if any(other.endswith(f".{name}") for name in own if name.count(".") < 2 for other in others):
        return "|".join(re.escape(name) for name in sorted(own))
    return sorted(own)


def _tensors(change: Change) -> dict[str, Tensor]:
    """Suffix -> tensor, as PEFT's layers keep them."""
    factors = change.factors
    if change.kind == "lora":
        keys = {".lora_A.weight": factors["down"], ".lora_B.weight": factors["up"]}
        if "magnitude" in factors:
            magnitude = factors["magnitude"]
            keys[".lora_magnitude_vector"] = magnitude.flatten() if magnitude.ndim == 2 else magnitude.transpose(0, 1)
        return keys
    if change.kind == "oft":
        return {TURN: _free_of(change)}
    if change.kind == "lokr":
        return {".lokr_w1": factors["c"], ".lokr_w2": factors["d"]}
    return {KINDS["loha"][name]: factors[name] for name in KINDS["loha"]}


def _settings(kind: str, own: Mapping[str, Change]) -> dict[str, Any]:
    """Ranks and strengths of a folder."""
    if kind == "oft":
        counts = {len(change.factors["rotation"]) for change in own.values()}
        if len(counts) > 1:
            raise InputError("PEFT turns all layers in as many blocks; these differ")
        return {
            "r": counts.pop(),
            "oft_block_size": 0,
            "coft": False,
            "block_share": False,
            "use_cayley_neumann": False,
        }
    if kind == "lokr":
        rank = max(max(change.factors["d"].shape[:2]) for change in own.values())
        return {"r": rank, "alpha": rank, "rank_pattern": {}, "alpha_pattern": {}, "decompose_both": False,
                "decompose_factor": _factor(own), "use_effective_conv2d": True, "init_weights": True}  # fmt: skip
    ranks = {name: change.rank for name, change in own.items()}
    alphas = {name: _whole(change.rank * change.strength) for name, change in own.items()}
    rank, alpha = max(ranks.values()), max(alphas.values())
    named = "lora_alpha" if kind == "lora" else "alpha"
    settings = {
        "r": rank, named: alpha, "rank_pattern": {f"^{name}": r for name, r in ranks.items() if r != rank},
        "alpha_pattern": {f"^{name}": a for name, a in alphas.items() if a != alpha},
    }  # fmt: skip
    if kind == "lora":
        return settings | {"bias": "none", "use_dora": any("magnitude" in c.factors for c in own.values()),
                           "use_rslora": False, "lora_dropout": 0.0, "lora_bias": False, "fan_in_fan_out": False,
                           "init_lora_weights": True}  # fmt: skip
    return settings | {"use_effective_conv2d": False, "init_weights": True}


def _whole(number: float) -> float | int:
    """A whole number as one."""
    return round(number) if abs(number - round(number)) < 1e-6 else number


def _factor(own: Mapping[str, Change]) -> int:
    """The factor by which all of these products divide their layers."""
    shapes = [(c.factors["c"].shape, c.factors["d"].shape) for c in own.values()]
    sizes = {(int(small[k]), int(small[k] * large[k])) for small, large in shapes for k in (0, 1)}
    for factor in (-1, *range(1, 1 + max(first for first, _ in sizes))):
        if all(factorised(size, factor)[0] == first for first, size in sizes):
            return factor
    raise InputError("PEFT divides all layers by one factor; these Kronecker products were divided by several")
