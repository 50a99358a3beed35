"""A concept as the files other tools read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.bases.common.names import (
    READ_BY,
    custom_diffusion_names,
    custom_diffusion_untouched,
    image_sites,
    table,
    unread_by_scripts,
)
from limner.core.artefact import PREFIX as ARTEFACT
from limner.core.concept import Concept
from limner.core.files import FileInTheWay, atomic_write, check_ours, header_marks, write_text
from limner.errors import InputError, UnknownName
from limner.library.opening import adapter_of
from limner.parts.modifiers.low_rank import low_rank
from limner.parts.modifiers.weight_changes import changed_weights

from . import peft_folders
from .changes import Change, approximated, write_changes

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base
    from limner.core.recipe import Recipe

FORMATS = {
    "diffusers": "load_lora_weights, load_textual_inversion and load_attn_procs of diffusers",
    "kohya": "sd-scripts, and whatever reads lora_unet_ keys; LoHa and LoKr as LyCORIS",
    "comfyui": "ComfyUI; FLUX in its makers' layout",
    "a1111": "AUTOMATIC1111 and Forge: kohya keys, and embeddings",
    "peft": "PeftModel.from_pretrained of PEFT: a folder with adapter_config.json for each network",
}
"""Name -> who reads it."""


@dataclass
class Exported:
    """The files that were written, and notes for the user about them."""

    files: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def export(
    concept: Concept, base: Base, folder: Path | str, *, to: str, rank: int = 0, overwrite: bool = False
) -> Exported:
    """Write a concept into `folder` in another tool's format. With `rank`, full changes of weights are brought to the
    nearest of that rank, which loses something: how much is in the notes.

    Raises `InputError` for a concept that the format cannot hold, naming what of it.
    """
    if to not in FORMATS:
        raise UnknownName("format", to, FORMATS)
    recipe = adapter_of(concept, base).recipe
    record, folder = Exported(), Path(folder)
    left = {name: tensor for name, tensor in concept.tensors.items() if not name.startswith(ARTEFACT)}
    if artefacts := concept.artefacts:
        record.notes.append(f"{len(artefacts)} artefacts ({artefacts[0].name}, …) stay in the concept's own file")
    words = {name: left.pop(name) for name in list(left) if name.startswith("word.")}
    changes = _changes(recipe, left, to)
    values = {name: left.pop(name) for name in list(left) if name.startswith(("denoiser.", "text_encoder"))}
    if values and rank:
        changes |= _reduced(base, values, rank, record)
        values = {}
    features = {name: left.pop(name) for name in list(left) if name.startswith("image.")}
    if features:
        raise InputError(
            f"{concept.handle} holds image features for {concept.method}; other tools read the method's own weights instead"
        )
    if left:
        raise InputError(
            f"{concept.handle}, learned by {concept.method}, has tensors that no file of {to} can hold: "
            f"{', '.join(sorted(left)[:3])}{' …' if len(left) > 3 else ''}"
        )
    trigger = _trigger(concept, recipe, base)
    dialect = "kohya" if to == "a1111" else to
    about: dict[str, Any] = {"concept": concept, "base": base, "trigger": trigger, "dialect": dialect, "to": to}
    if to == "peft":
        _write_peft(folder, changes, concept, base, record, overwrite)
    elif changes:
        if base.family not in READ_BY.get(to, (base.family,)):
            raise InputError(
                f"no tool is known to read files of {to} for {base.family}; export to diffusers or peft (known are "
                f"{', '.join(READ_BY[to])})"
            )
        _write_changes(folder / f"{_name(concept)}.safetensors", changes, record, overwrite=overwrite, **about)
    if values:
        _write_values(folder, values, to, base, record, overwrite)
    if words and to == "peft":
        raise InputError(f"{concept.handle} has a learned word, which PEFT's folders do not hold; export to diffusers")
    for name, vectors in words.items():
        _write_word(folder, name, vectors, concept, base, to, record, overwrite, alone=len(words) == 1 and not changes)
    if not record.files:
        raise InputError(
            f"{concept.handle}, learned by {concept.method}, changes no weight of the base: there is nothing to write"
        )
    record.notes.append(f"in prompts, write: {trigger}")
    return record


def _name(concept: Concept) -> str:
    return concept.handle.strip("<>")


def _trigger(concept: Concept, recipe: Recipe, base: Base) -> str:
    return recipe.words(base) or concept.handle


def _changes(recipe: Recipe, left: dict[str, Tensor], to: str) -> dict[str, Change]:
    """Changes among the tensors that the format holds, which are taken out of them."""
    import torch

    changes: dict[str, dict[str, Tensor]] = {}
    for name in list(left):
        if name.startswith(("low_rank.", "weight.")):
            layer, _, key = name.partition(".")[2].rpartition(".")
            changes.setdefault(f"{name.partition('.')[0]}|{layer}", {})[key] = left[name]
    made: dict[str, Change] = {}
    alphas = {
        "lora": next((m.alpha for m in recipe.modifiers if isinstance(m, low_rank)), None),
        "loha": next(
            (getattr(m.kind, "alpha", None) for m in recipe.modifiers if isinstance(m, changed_weights)), None
        ),
    }
    kinds_worn = [m.kind for m in recipe.modifiers if isinstance(m, changed_weights)]
    turned = next((kind.rotation for kind in kinds_worn if hasattr(kind, "rotation")), None)
    for place, parts in changes.items():
        way, layer = place.split("|")
        names = list(parts)
        alpha = parts.pop("alpha", None)
        if "turn" in parts and turned is not None:
            parts = {"rotation": turned(parts["turn"].float())}
        kinds = {"down": "lora", "a1": "loha", "c": "lokr", "rotation": "oft"}
        kind = next((kinds[key] for key in parts if key in kinds), None)
        if kind is None or (kind == "oft" and to != "peft"):
            continue  # a kind that this format does not hold; the remainder is refused
        if alpha is None and kind in alphas:
            rank = parts["down"].shape[0] if kind == "lora" else parts["b1"].shape[0]
            alpha = torch.tensor(float(alphas[kind] or rank))
        made[layer] = Change(kind, dict(parts), alpha)
        for key in names:
            left.pop(f"{way}.{layer}.{key}", None)
    return made


def _reduced(base: Base, values: Mapping[str, Tensor], rank: int, record: Exported) -> dict[str, Change]:
    changes, lost = {}, []
    for name, value in values.items():
        layer, _, end = name.rpartition(".")
        part, _, path = name.partition(".")
        delta = value.float() - base.module(part).get_parameter(path).detach().float().cpu()
        if end != "weight" or delta.ndim not in (2, 4):
            if bool(delta.any()):
                lost.append(1.0)
            continue
        changes[layer], gone = approximated(delta, min(rank, *delta.flatten(1).shape))
        lost.append(gone)
    record.notes.append(
        f"whole changes of {len(values)} parameters were approximated at rank {rank}: on average "
        f"{sum(lost) / len(lost):.0%} of their norm is lost"
    )
    return changes


def _write_changes(
    path: Path,
    changes: Mapping[str, Change],
    record: Exported,
    *,
    concept: Concept,
    base: Base,
    trigger: str,
    dialect: str,
    to: str,
    overwrite: bool,
) -> None:
    kinds = {change.kind for change in changes.values()}
    decomposed = any("magnitude" in change.factors for change in changes.values())
    if dialect == "diffusers" and (kinds - {"lora"} or decomposed):
        what = "DoRA" if decomposed else " or ".join(sorted(kinds - {"lora"}))
        raise InputError(f"diffusers' LoRA files hold no {what}; export to kohya, comfyui or peft")
    if dialect == "diffusers":
        changes = {layer: _at_full_strength(change) for layer, change in changes.items()}
    elif "lokr" in kinds:
        changes = _with_alpha(changes)
    try:
        tensors = write_changes(base, changes, dialect)
    except KeyError as error:
        raise InputError(f"{dialect} cannot hold these layers of {base.name} ({base.family}): {error}") from error
    if dialect == "diffusers":
        about = {"lora_adapter_metadata": json.dumps(_adapter(base, changes), sort_keys=True), "format": "pt"}
    else:
        about = _metadata(concept, base, changes, trigger) | _hashes(
            tensors, _metadata(concept, base, changes, trigger)
        )
        record.notes += _dropped(base, changes) if dialect == "kohya" else []
    _save(path, tensors, about | _ours(concept, trigger), overwrite, to)
    record.files.append(path)


def _at_full_strength(change: Change) -> Change:
    """The same with alpha = rank, which all readers of diffusers' files agree on: some do not look into the header."""
    import torch

    if change.strength == 1:
        return Change("lora", change.factors, None)
    up = (change.factors["up"].float() * change.strength).to(change.factors["up"].dtype)
    return Change("lora", {**change.factors, "up": up}, torch.tensor(float(change.rank)))


def _with_alpha(changes: Mapping[str, Change]) -> dict[str, Change]:
    """Kronecker products with an alpha that is the rank in the header: LyCORIS and PEFT ask for one, and it counts as
    1."""
    import torch

    alpha = torch.tensor(float(_lokr_rank(changes)))
    return {
        layer: Change(change.kind, change.factors, alpha) if change.kind == "lokr" else change
        for layer, change in changes.items()
    }


def _lokr_rank(changes: Mapping[str, Change]) -> int:
    """A rank at which no tool makes the large factor a product: its larger side."""
    return max((max(c.factors["d"].shape[:2]) for c in changes.values() if c.kind == "lokr"), default=0)


def _dropped(base: Base, changes: Mapping[str, Change]) -> list[str]:
    """A note on layers that the scripts' own network leaves out without a word."""
    layers = [layer for layer in changes if unread_by_scripts(base, layer)]
    if not layers or any(c.kind != "lora" or "magnitude" in c.factors for c in changes.values()):
        return []  # the scripts' own network reads LoRA alone
    shown = ", ".join(layer.partition(".")[2] for layer in layers[:3])
    if base.family == "qwen_image":
        return [f"musubi-tuner leaves out {len(layers)} of these {len(changes)} layers: {shown} …"]
    own = _network_module(base, {})
    return [
        f"sd-scripts' {own} leaves out {len(layers)} of these {len(changes)} layers ({shown} …): load it with "
        "lycoris.kohya, which the file's header names, and which reads all"
    ]


def _write_peft(
    folder: Path, changes: Mapping[str, Change], concept: Concept, base: Base, record: Exported, overwrite: bool
) -> None:
    for part, (settings, tensors) in peft_folders.folders(base, changes).items():
        place = folder / (_name(concept) if part == "denoiser" else f"{_name(concept)}-{part}")
        text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
        if (place / peft_folders.CONFIG).exists() and not (place / peft_folders.WEIGHTS).exists():
            raise FileInTheWay(
                f"{place / peft_folders.CONFIG} was not written by limner, so it is not replaced; move it away"
            )
        _save(place / peft_folders.WEIGHTS, tensors, {"format": "pt"}, overwrite, "peft")
        write_text(place / peft_folders.CONFIG, text, overwrite=overwrite)
        record.files += [place / peft_folders.WEIGHTS, place / peft_folders.CONFIG]


def _ours(concept: Concept, trigger: str) -> dict[str, str]:
    fields = {"handle": concept.handle, "noun": concept.subject["noun"], "says": trigger, "method": concept.method}
    return {"limner.export": json.dumps(fields)}


WEIGHTS_OF_METHOD = "ip_adapter"
CUSTOM_DIFFUSION = "pytorch_custom_diffusion_weights.safetensors"
"""How diffusers calls keys and values of cross-attention that were learned whole."""
WRITTEN = "limner.written"
"""Key of an exported file's header, by which it is known as limner's; its value is the format."""


def _save(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str], overwrite: bool, to: str) -> None:
    from safetensors.torch import save_file

    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    marked = {WRITTEN: to, **metadata}
    if overwrite:
        check_export(path, to)
    atomic_write(path, lambda p: save_file(whole, p, metadata=marked), overwrite=overwrite)


def check_export(path: Path, to: str) -> None:
    """Raise `FileInTheWay` for a file that is not limner's own export to this format: nothing else is replaced, no
    concept either."""
    if not path.exists():
        return
    check_ours(path)
    written = header_marks(path).get(WRITTEN, "")
    if written != to:
        kind = f"was exported to {written}" if written in FORMATS else "is no export to that format"
        raise FileInTheWay(
            f"{path} {kind}, so it is not replaced by one to {to}; choose another folder with --out, or move it away"
        )


def _version(base: Base) -> tuple[str, str, str]:
    """How sd-scripts calls a base's version, and ModelSpec its architecture and implementation."""
    velocity = base.predicts == "velocity"
    if base.family == "stable_diffusion" and base.word_widths[0] > 768:  # 2.x reads OpenCLIP's 1024 columns
        return (
            ("sd_v2_v" if velocity else "sd_v2"),
            f"stable-diffusion-v2-{'768-v' if velocity else '512'}",
            "diffusers",
        )
    known = {
        "stable_diffusion": ("sd_v1_v" if velocity else "sd_v1", "stable-diffusion-v1", "diffusers"),
        "sdxl": (
            "sdxl_base_v1-0",
            "stable-diffusion-xl-v1-base",
            "https://github.com/Stability-AI/generative-models",
        ),
        "sd3": ("sd3", "stable-diffusion-3", "diffusers"),
        "flux": ("flux1", "flux-1-dev", "https://github.com/black-forest-labs/flux"),
    }
    return known.get(base.family, (base.family, base.family.replace("_", "-"), "diffusers"))


def _network_module(base: Base, changes: Mapping[str, Change]) -> str:
    """The script that reads all of the changes."""
    whole = all(c.kind == "lora" and "magnitude" not in c.factors for c in changes.values())
    if not whole or any(unread_by_scripts(base, layer) for layer in changes):
        return "lycoris.kohya"
    return {"flux": "networks.lora_flux", "sd3": "networks.lora_sd3", "qwen_image": "networks.lora_qwen_image"}.get(
        base.family, "networks.lora"
    )


def _metadata(concept: Concept, base: Base, changes: Mapping[str, Change], trigger: str) -> dict[str, str]:
    """The metadata that sd-scripts writes beside its tensors, and ModelSpec 1.0."""
    ranks = [change.rank for change in changes.values() if change.rank] or [_lokr_rank(changes)]
    alphas = [float(change.alpha) for change in changes.values() if change.alpha is not None] or [float(max(ranks))]
    version, architecture, implementation = _version(base)
    module = _network_module(base, changes)
    about = {
        "ss_network_module": module,
        "ss_network_dim": str(max(ranks)),
        "ss_network_alpha": str(max(alphas)),
        "ss_network_args": json.dumps(_network_args(changes) if module == "lycoris.kohya" else {}),
        "ss_base_model_version": version,
        "ss_v2": str(version.startswith("sd_v2")),
        "ss_output_name": _name(concept),
        "ss_sd_model_name": base.name,
        "ss_steps": str(len(concept.losses)),
        "ss_learning_rate": str(concept.settings.get("lr", "")),
        "ss_seed": str(concept.seed),
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": f"{architecture}/lora",
        "modelspec.implementation": implementation,
        "modelspec.title": _name(concept),
        "modelspec.trigger_phrase": trigger,
        "modelspec.resolution": f"{base.picture_size}x{base.picture_size}",
    }
    kinds = {"noise": "epsilon", "velocity": "v"}  # ModelSpec knows these two
    if base.predicts in kinds:
        about["modelspec.prediction_type"] = kinds[base.predicts]
    return about


def _network_args(changes: Mapping[str, Change]) -> dict[str, str]:
    """The arguments with which LyCORIS would make such a network."""
    kind = next(iter({change.kind for change in changes.values()}))
    decomposed = any("magnitude" in change.factors for change in changes.values())
    arguments = {"algo": "locon" if kind == "lora" else kind} | ({"dora_wd": "True"} if decomposed else {})
    convolved = [change for change in changes.values() if next(iter(change.factors.values())).ndim > 2 and change.rank]
    if convolved:
        arguments |= {
            "conv_dim": str(max(c.rank for c in convolved)),
            "conv_alpha": str(max(c.rank * c.strength for c in convolved)),
        }
    if kind == "lokr":
        small = max(max(change.factors["c"].shape) for change in changes.values() if change.kind == "lokr")
        arguments |= {"factor": str(small), "full_matrix": "True"}
    return arguments


def _hashes(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> dict[str, str]:
    """The hashes by which web UIs know a file: of its tensors' bytes, and the older one of 64 KiB from the first
    mebibyte on of the file with the training's metadata alone (precalculate_safetensors_hashes of sd-scripts)."""
    from hashlib import sha256

    from safetensors.torch import save

    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    data = save(plain, {key: value for key, value in about.items() if key.startswith("ss_")})
    start = 8 + int.from_bytes(data[:8], "little")
    return {
        "sshs_model_hash": sha256(data[start:]).hexdigest(),
        "sshs_legacy_hash": sha256(data[0x100000:0x110000]).hexdigest()[:8],
    }


def _adapter(base: Base, changes: Mapping[str, Change]) -> dict[str, Any]:
    """The LoraConfig of each network, flattened, as diffusers keeps it in a file's header."""
    stems = {target.layer: stem for stem, (target, *_) in reversed(table(base, "diffusers").items())}
    config: dict[str, Any] = {}
    by_part: dict[str, dict[str, Change]] = {}
    for layer, change in changes.items():
        part, _, name = stems[layer].partition(".")
        by_part.setdefault(part, {})[name] = change
    for part, own in by_part.items():
        # without the prefix that transformers 5 leaves out: PEFT matches the ends of layers' names
        ranks = {name.removeprefix("text_model."): change.rank for name, change in own.items()}
        whole = "" if part.startswith("text_encoder") else "^"
        rank = max(ranks.values())
        others = {f"{whole}{name}": r for name, r in ranks.items() if r != rank}
        config |= {
            f"{part}.r": rank,
            f"{part}.lora_alpha": rank,
            f"{part}.rank_pattern": others,
            f"{part}.alpha_pattern": others,
            f"{part}.target_modules": sorted(ranks),
            f"{part}.lora_bias": False,
            f"{part}.use_dora": False,
        }
    return config


def _write_word(
    folder: Path,
    name: str,
    vectors: Tensor,
    concept: Concept,
    base: Base,
    to: str,
    record: Exported,
    overwrite: bool,
    *,
    alone: bool,
) -> None:
    """A learned word as an embedding: one table a text encoder."""
    word = name.removeprefix("word.")
    stem = _name(concept) if alone else f"{word.strip('<>')}-word"
    widths = base.word_widths
    if base.family == "sdxl":
        tensors = dict(zip(("clip_l", "clip_g"), vectors.split(widths, 1), strict=True))
    elif len(widths) > 1:
        raise InputError(f"{base.family} has {len(widths)} text encoders: no tool reads a word learned for all of them")
    else:
        tensors = {word: vectors} if to == "diffusers" else {"emb_params": vectors}
    path = folder / f"{stem}.safetensors"
    _save(path, tensors, _ours(concept, word), overwrite, to)
    record.files.append(path)


def _write_values(
    folder: Path, values: Mapping[str, Tensor], to: str, base: Base, record: Exported, overwrite: bool
) -> None:
    """Keys and values of cross-attention, learned whole: diffusers' Custom Diffusion file."""
    names = {ours: theirs for theirs, ours in custom_diffusion_names(base).items()}
    strange = [name for name in values if name not in names]
    if to != "diffusers" or strange:
        raise InputError(
            "whole weights were trained, which LoRA files cannot hold. Approximate them with --rank 16, for example"
            + ("" if strange else ", or export to diffusers, which has a format for keys and values")
        )
    import torch

    tensors = {names[name]: value for name, value in values.items()}
    tensors |= {name: torch.zeros(0) for name in custom_diffusion_untouched(base)}
    path = folder / CUSTOM_DIFFUSION
    _save(path, tensors, {}, overwrite, to)
    record.files.append(path)


def export_adapter(base: Base, tensors: Mapping[str, Tensor], path: Path, *, overwrite: bool = False) -> Path:
    """The weights of `ip_adapter` for a base, in IP-Adapter's layout."""
    weights = {
        "image_proj.proj.weight": tensors["image.projection.weight"],
        "image_proj.proj.bias": tensors["image.projection.bias"],
    }
    weights |= {f"image_proj.norm.{end}": tensors[f"image.norm.{end}"] for end in ("weight", "bias")}
    for number, site in image_sites(base).items():
        for ours, theirs in (("key", "to_k_ip"), ("value", "to_v_ip")):
            weights[f"ip_adapter.{number}.{theirs}.weight"] = tensors[f"image.{site}.{ours}"]
    _save(path, weights, {}, overwrite, WEIGHTS_OF_METHOD)
    return path
