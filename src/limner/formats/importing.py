"""Files of other tools, as concepts to wear or as weights that methods start from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.bases.names import custom_diffusion_names, custom_diffusion_untouched, image_sites
from limner.concept import Concept
from limner.errors import FileError
from limner.subject import check_name, check_noun
from limner.wording import counted

from .blip_diffusion import is_qformer, read_qformer
from .changes import Change, Report, read_changes
from .reading import read_pickle, read_tensors
from .recipes import IMPORTED

if TYPE_CHECKING:
    from torch import Tensor

    from limner.bases.protocol import Base


@dataclass
class Imported:
    """What a file turned out to be."""

    what: str  # "changes", "word", "custom_diffusion", "ip_adapter" or "blip_diffusion"
    report: Report
    concept: Concept | None = None  # None for weights of a method, which are kept beside the base
    weights: Path | None = None


def import_file(
    path: Path | str,
    base: Base,
    *,
    name: str = "",
    noun: str = "",
    says: str = "",
    partial: bool = False,
    overwrite: bool = False,
) -> Imported:
    """Read a file of another tool for a base: LoRA, LoHa or LoKr by the keys of diffusers, kohya and ComfyUI, a Textual
    Inversion embedding, Custom Diffusion, IP-Adapter's weights, or the folder of a released BLIP-Diffusion.

    `name` is what prompts will call it, `says` the words it was taught with (its trigger); both default to what the file
    tells. Raises `FileError` for a file with keys that nothing here reads, or that lacks some, unless `partial`; and for weights of a
    method that has some already, unless `overwrite`, or whose weights are part of limner.
    """
    path = Path(path)
    if is_qformer(path):
        return _qformer(path, base, partial, overwrite)
    if path.suffix.lower() in (".pt", ".bin", ".pth"):
        metadata: dict[str, str] = {}
        tensors = _pickled(path)
    else:
        metadata, tensors = read_tensors(path)
    told = _told(metadata)
    name = check_name(name or told.get("handle", "") or _bare(path.stem))
    noun = check_noun(noun or told.get("noun", "") or "thing")
    says = says or told.get("says", "") or metadata.get("modelspec.trigger_phrase", "")
    about: dict[str, Any] = {
        "path": path,
        "base": base,
        "handle": f"<{name}>",
        "noun": noun,
        "says": says,
        "partial": partial,
    }
    if any(key.startswith(("ip_adapter.", "image_proj.")) for key in tensors):
        return _adapter(path, base, tensors, partial, overwrite)
    word = _word(base, tensors)
    if word is not None:
        return _concept("word", {f"word.<{name}>": word}, Report(read=list(tensors)), words=len(word), **about)
    if any("_custom_diffusion" in key for key in tensors):
        values, report = _values(base, tensors)
        return _concept("custom_diffusion", values, report, **about)
    changes, report = read_changes(base, tensors)
    if not changes:
        raise FileError(
            f"{path} has no change of any layer of {base.name} ({base.family}): its first keys are "
            f"{', '.join(list(tensors)[:3])}. Is it of another base?"
        )
    return _concept("changes", _stored(changes), report, **about)


def _told(metadata: Mapping[str, str]) -> dict[str, str]:
    try:
        found = json.loads(metadata.get("limner.export", "{}"))
    except (ValueError, RecursionError):
        return {}
    return {k: str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def _bare(stem: str) -> str:
    letters = "".join(c if c.isalnum() else "-" for c in stem.lower()).strip("-")[:31]
    return letters if letters[:1].isalpha() else f"my{letters}"[:31]


def _stored(changes: Mapping[str, Change]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for layer, change in changes.items():
        prefix = ("low_rank." if change.kind == "lora" else "weight.") + layer
        found |= {f"{prefix}.{key}": tensor for key, tensor in change.factors.items()}
        if change.alpha is not None:
            found[f"{prefix}.alpha"] = change.alpha
    return found


def _concept(
    what: str,
    tensors: Mapping[str, Tensor],
    report: Report,
    *,
    path: Path,
    base: Base,
    handle: str,
    noun: str,
    says: str,
    partial: bool,
    words: int = 0,
) -> Imported:
    _refuse(path, report, partial)
    card = {"handle": handle, "noun": noun, "kind": "object", "pictures": []}
    concept = Concept(
        handle=handle,
        method=IMPORTED,
        settings={"says": "" if words else says, "words": words},
        base={"name": base.name, "family": base.family, "fingerprint": base.fingerprint},
        subject=card,
        seed=0,
        tensors=dict(tensors),
    )
    _worn_once(base, concept)
    return Imported(what, report, concept)


def _refuse(path: Path, report: Report, partial: bool) -> None:
    if not report.whole and not partial:
        raise FileError(f"{path} is not read whole; --partial takes what there is. {report}")


def _worn_once(base: Base, concept: Concept) -> None:
    """Put it on and off: shapes that do not fit are said now."""
    from limner.wearing import wear

    with wear(base, (concept.outfit(base),)):
        pass


def _word(base: Base, tensors: Mapping[str, Any]) -> Tensor | None:
    """The vectors of a learned word, of an embedding in any of its layouts; None for a file that is none."""
    import torch

    widths = base.word_widths
    if set(tensors) == {"clip_l", "clip_g"}:
        return torch.cat([_fitting(tensors[key]) for key in ("clip_l", "clip_g")], 1)
    if len(tensors) == 1:
        (only,) = tensors.values()
        flat = _fitting(only)
        if flat.ndim == 2 and flat.shape[1] == sum(widths) and "." not in next(iter(tensors)):
            return flat
    return None


def _fitting(vectors: Tensor) -> Tensor:
    return vectors[None] if vectors.ndim == 1 else vectors


def _pickled(path: Path) -> dict[str, Tensor]:
    """The tensors of a pickle, read as tensors alone: IP-Adapter's two tables as its safetensors files name what is in them, or
    an embedding."""
    found = read_pickle(path)
    if set(found) != {"image_proj", "ip_adapter"}:
        return _old_embedding(path, found)
    return {f"{part}.{key}": tensor for part, table in found.items() for key, tensor in table.items()}


def _old_embedding(path: Path, found: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensor of an embedding of AUTOMATIC1111 ("string_to_param") or of diffusers ({word: vector})."""
    import torch

    inner = found.get("string_to_param")
    table = inner if isinstance(inner, dict) else {k: v for k, v in found.items() if torch.is_tensor(v)}
    tensors = {str(key): tensor for key, tensor in table.items() if torch.is_tensor(tensor)}
    if len(tensors) != 1 and set(tensors) != {"clip_l", "clip_g"}:
        raise FileError(f"{path} is no embedding: expected one word's vectors, found {counted(len(tensors), 'tensor')}")
    bad = [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor.float()).all())]
    if bad:
        raise FileError(f"{path} is damaged: {bad[0]} holds values that are not finite numbers")
    return {("emb_params" if name == "*" else name): tensor.detach() for name, tensor in tensors.items()}


def _values(base: Base, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Report]:
    names, nothing, report = custom_diffusion_names(base), set(custom_diffusion_untouched(base)), Report()
    found = {}
    for key, tensor in tensors.items():
        if key in names:
            found[names[key]] = tensor
            report.read.append(key)
        elif key in nothing and not tensor.numel():
            report.read.append(key)
        else:
            report.ignored.append(key)
    wanted = [key for key in names if key.endswith(("to_k_custom_diffusion.weight", "to_v_custom_diffusion.weight"))]
    report.missing = [key for key in wanted if key not in tensors]
    return found, report


def _adapter(path: Path, base: Base, tensors: Mapping[str, Tensor], partial: bool, overwrite: bool) -> Imported:
    """IP-Adapter's weights become those that `ip_adapter` starts from on this base."""
    from limner.weights import check_import, save_weights

    check_import("ip_adapter", base, overwrite=overwrite)
    names = {
        "image_proj.proj.weight": "image.projection.weight", "image_proj.proj.bias": "image.projection.bias",
        "image_proj.norm.weight": "image.norm.weight", "image_proj.norm.bias": "image.norm.bias",
    }  # fmt: skip
    for number, site in image_sites(base).items():
        names |= {
            f"ip_adapter.{number}.to_{k}_ip.weight": f"image.{site}.{v}" for k, v in (("k", "key"), ("v", "value"))
        }
    report = Report(
        read=[key for key in tensors if key in names],
        ignored=[key for key in tensors if key not in names],
        missing=[key for key in names if key not in tensors],
    )
    _refuse(path, report, partial)
    found = {names[key]: tensors[key] for key in report.read}
    kept = save_weights("ip_adapter", base, found, about={"source": path.name}, overwrite=overwrite)
    return Imported("ip_adapter", report, weights=kept)


def _qformer(path: Path, base: Base, partial: bool, overwrite: bool) -> Imported:
    """A released BLIP-Diffusion's Querying Transformer becomes the weights of `blip_diffusion` on the release as a base."""
    from limner.weights import check_import, save_weights

    check_import("blip_diffusion", base, overwrite=overwrite)
    tensors, about, report = read_qformer(path, base)
    _refuse(path, report, partial)
    kept = save_weights("blip_diffusion", base, tensors, about=about, overwrite=overwrite)
    return Imported("blip_diffusion", report, weights=kept)
