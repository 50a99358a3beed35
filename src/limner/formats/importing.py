"""Files of other tools, as concepts or as weights that methods start from."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.bases.common.names import custom_diffusion_names, custom_diffusion_untouched, image_sites
from limner.core.concept import IMPORTED, Concept
from limner.core.subject import check_name, check_noun
from limner.core.tensor_files import read_pickle, read_tensors
from limner.core.wording import counted
from limner.errors import FileError
from limner.library.opening import adapter_of

from . import peft_folders
from .blip_diffusion import is_qformer, read_qformer
from .changes import Change, Found, Report, Told, parted, read_changes, unread_kind
from .instantid import is_instantid, read_instantid
from .released_adapters import (
    is_face_id,
    is_ms_diffusion,
    is_ssr_encoder,
    read_face_id,
    read_ms_diffusion,
    read_ssr_encoder,
)
from .released_fusing import fastcomposer_weights, is_fastcomposer, is_photomaker, photomaker_weights

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base


@dataclass
class Imported:
    """The contents of a file."""

    what: str  # "changes", "word", "custom_diffusion", or the weights' name: "ip_adapter", "instantid", ...
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
    """Read a file of another tool for a base: LoRA, DoRA, LoHa, LoKr and whole differences by the keys of diffusers,
    kohya, LyCORIS and ComfyUI, PEFT's folders, a Textual Inversion embedding (of SDXL also as two files), Custom
    Diffusion, the weights of IP-Adapter, IP-Adapter-FaceID, MS-Diffusion, PhotoMaker (first version) and FastComposer,
    or the folder of a released BLIP-Diffusion, InstantID or SSR-Encoder.

    `name` is what prompts will call it, `says` the words it was taught with (its trigger); both default to what the
    file tells. Raises `FileError` for a file with keys that nothing here reads, or that lacks some, unless `partial`;
    and for weights of a method that has some already, unless `overwrite`, or whose weights are part of limner.
    """
    path = Path(path)
    if is_qformer(path):
        return _qformer(path, base, partial, overwrite)
    if is_instantid(path):
        return _weights("instantid", path, base, read_instantid(path, base), partial, overwrite)
    if is_ssr_encoder(path):
        return _weights("ssr_encoder", path, base, read_ssr_encoder(path, base), partial, overwrite)
    if peft_folders.is_folder(path):
        tensors, changes, strength_of = peft_folders.read_folder(path, base)
        metadata: dict[str, str] = {}
        path = path if path.is_dir() else path.parent
    elif path.suffix.lower() in PICKLES:
        tensors, changes, strength_of, metadata = _pickled(path), {}, None, {}
    else:
        metadata, tensors = read_tensors(path)
        changes, strength_of = {}, _header_strengths(metadata, path)
    ours = _read_export_header(metadata)
    word, own_name = _word(path, base, tensors)
    name = check_name(name or ours.get("handle", "") or _bare(own_name or path.stem))
    noun = check_noun(noun or ours.get("noun", "") or "thing")
    says = says or ours.get("says", "") or metadata.get("modelspec.trigger_phrase", "")
    about: dict[str, Any] = {
        "path": path,
        "base": base,
        "handle": f"<{name}>",
        "noun": noun,
        "says": says,
        "partial": partial,
    }
    if is_face_id(tensors):
        return _weights("ip_adapter.face", path, base, read_face_id(path, tensors, base), partial, overwrite)
    if is_photomaker(tensors):
        return _weights("photomaker.released", path, base, photomaker_weights(path, tensors, base), partial, overwrite)
    if is_fastcomposer(tensors):
        contents = fastcomposer_weights(path, tensors, base)
        return _weights("fastcomposer.released", path, base, contents, partial, overwrite)
    if is_ms_diffusion(tensors):
        return _weights("ms_diffusion", path, base, read_ms_diffusion(tensors, base), partial, overwrite)
    if any(key.startswith(("ip_adapter.", "image_proj.")) for key in tensors):
        return _adapter(path, base, tensors, partial, overwrite)
    if word is not None:
        return _concept("word", {f"word.<{name}>": word}, Report(read=list(tensors)), words=len(word), **about)
    if any("_custom_diffusion" in key for key in tensors):
        values, report = _values(base, tensors)
        return _concept("custom_diffusion", values, report, **about)
    layers = read_changes(base, tensors, strength_of) if tensors else Found()
    layers.changes |= changes
    if not layers.changes and not layers.values:
        raise FileError(f"{path} has no change of any layer of {base.name} ({base.family}): {_why(layers, tensors)}")
    return _concept("changes", _stored(layers.changes) | layers.values, layers.report, **about)


NESTED = ({"image_proj", "ip_adapter"}, {"image_proj", "ms_adapter"}, {"id_encoder", "lora_weights"})
"""Names of the tables of tensors in files of IP-Adapter, MS-Diffusion and PhotoMaker."""
PICKLES = (".pt", ".bin", ".pth", ".ckpt")


def _why(contents: Found, tensors: Mapping[str, Tensor]) -> str:
    """Why nothing was read: a kind that limner does not read, or names of no layer."""
    kind = next(filter(None, map(unread_kind, tensors)), "")
    if kind:
        return f"its keys are of {kind}, which is not read here"
    if contents.report.missing:
        return f"it lacks {', '.join(contents.report.missing[:3])}"
    return f"its first keys are {', '.join(list(tensors)[:3])}. Does it belong to another base?"


def _header_strengths(metadata: Mapping[str, str], path: Path) -> Told | None:
    """Ranks and alphas of each network from the header that diffusers' scripts write (its LoraConfig, by "unet.r"
    and so on)."""
    if "lora_adapter_metadata" not in metadata:
        return None
    try:
        listed = json.loads(metadata["lora_adapter_metadata"])
    except (json.JSONDecodeError, RecursionError) as error:
        raise FileError(
            f"{path} has a header that is damaged: its lora_adapter_metadata is not JSON ({error})"
        ) from error
    if not isinstance(listed, dict):
        raise FileError(f"{path} has a header that is damaged: its lora_adapter_metadata is no table")
    configs: dict[str, dict[str, Any]] = {}
    for key, value in listed.items():
        part, _, setting = key.rpartition(".")
        configs.setdefault(part, {})[setting] = value
    strengths_of = {part: peft_folders.strengths(config, path) for part, config in configs.items()}

    def strength(stem: str, rank: int) -> float | None:
        part, _, name = stem.partition(".")
        return strengths_of[part](name, rank) if part in strengths_of else None

    return strength


def _read_export_header(metadata: Mapping[str, str]) -> dict[str, str]:
    try:
        fields = json.loads(metadata.get("limner.export", "{}"))
    except (ValueError, RecursionError):
        return {}
    return {k: str(v) for k, v in fields.items()} if isinstance(fields, dict) else {}


def _bare(stem: str) -> str:
    letters = "".join(c if c.isalnum() else "-" for c in stem.lower()).strip("-")[:31]
    return letters if letters[:1].isalpha() else f"my{letters}"[:31]


def _stored(changes: Mapping[str, Change]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for layer, change in changes.items():
        beside = change.kind == "lora" and "magnitude" not in change.factors
        prefix = ("low_rank." if beside else "weight.") + layer
        tensors |= {f"{prefix}.{key}": tensor for key, tensor in change.factors.items()}
        if change.alpha is not None:
            tensors[f"{prefix}.alpha"] = change.alpha
    return tensors


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
        raise FileError(f"{path} cannot be read whole; --partial imports the readable part. {report}")


def _worn_once(base: Base, concept: Concept) -> None:
    """Put it on and off: shapes that do not fit are said now."""
    from limner.engine.attach import attach

    with attach(base, (adapter_of(concept, base),)):
        pass


def _word(path: Path, base: Base, tensors: Mapping[str, Any]) -> tuple[Tensor | None, str]:
    """The vectors of a learned word, of an embedding in any of its layouts, and the word where the file says it; None
    for a file that is none. Raises `FileError` where one of two text encoders' vectors are not there."""
    import torch

    widths = base.word_widths
    if set(tensors) == {"clip_l", "clip_g"}:
        halves = [_fitting(tensors[key]) for key in ("clip_l", "clip_g")]
        if [half.shape[-1] for half in halves] == widths[:2] and len({len(half) for half in halves}) == 1:
            return torch.cat(halves, 1), ""
        return None, ""
    if len(tensors) != 1 or parted(next(iter(tensors)))[1]:
        return None, ""
    ((key, only),) = tensors.items()
    flat, word = _fitting(only), "" if key in ("emb_params", "*") else key
    if flat.ndim != 2:
        return None, ""
    if flat.shape[1] == sum(widths):
        return flat, word
    return (_with_second(path, key, flat, widths), word) if len(widths) == 2 and flat.shape[1] in widths else (None, "")


def _with_second(path: Path, key: str, vectors: Tensor, widths: Sequence[int]) -> Tensor:
    """A word of SDXL that diffusers' script wrote as two files, learned_embeds and learned_embeds_2, one a text
    encoder."""
    import torch

    first = not re.search(r"embeds_2", path.name)
    other = path.with_name(
        path.name.replace("embeds", "embeds_2", 1) if first else path.name.replace("embeds_2", "embeds", 1)
    )
    if other == path or not other.is_file():
        raise FileError(
            f"{path} has a word for one of two text encoders (width {vectors.shape[1]}): put the other file "
            f"({other.name if other != path else 'learned_embeds_2.safetensors'}) beside it"
        )
    tensors = _pickled(other) if other.suffix.lower() in PICKLES else read_tensors(other)[1]
    halves = [vectors, *(_fitting(tensor) for name, tensor in tensors.items() if name == key)]
    halves = halves if first else halves[::-1]
    if [half.shape[-1] for half in halves] != list(widths) or len({len(half) for half in halves}) > 1:
        raise FileError(f"{path} and {other.name} do not hold one word's vectors for both text encoders ({widths})")
    return torch.cat(halves, 1)


def _fitting(vectors: Tensor) -> Tensor:
    return vectors[None] if vectors.ndim == 1 else vectors


def _pickled(path: Path) -> dict[str, Tensor]:
    """The tensors of a pickle, which is read without running code: the tables of NESTED, with the
    names of safetensors files; an embedding; or a table of tensors, in which older scripts write LoRA and Custom
    Diffusion."""
    import torch

    contents = read_pickle(path)
    if set(contents) - {"dummy_image_tokens"} in NESTED:
        tables = {part: table for part, table in contents.items() if isinstance(table, dict)}
        rest = {name: tensor for name, tensor in contents.items() if name not in tables}
        contents = {f"{part}.{key}": tensor for part, table in tables.items() for key, tensor in table.items()} | rest
    inner = contents.get("string_to_param")  # an embedding of AUTOMATIC1111
    table = inner if isinstance(inner, dict) else contents
    tensors = {str(key): tensor.detach() for key, tensor in table.items() if torch.is_tensor(tensor)}
    if not tensors or (len(tensors) < len(table) and inner is None):
        raise FileError(
            f"{path} is no table of tensors: expected an embedding, or LoRA or Custom Diffusion of older scripts; found "
            f"{counted(len(tensors), 'tensor')} among {len(table)} entries ({', '.join(map(str, list(table)[:3]))})"
        )
    bad = [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor.float()).all())]
    if bad:
        raise FileError(f"{path} is damaged: {bad[0]} holds values that are not finite numbers")
    return {("emb_params" if name == "*" else name): tensor for name, tensor in tensors.items()}


def _values(base: Base, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Report]:
    names, nothing, report = custom_diffusion_names(base), set(custom_diffusion_untouched(base)), Report()
    values = {}
    for key, tensor in tensors.items():
        if key in names:
            values[names[key]] = tensor
            report.read.append(key)
        elif key in nothing and not tensor.numel():
            report.read.append(key)
        else:
            report.ignored.append(key)
    wanted = [key for key in names if key.endswith(("to_k_custom_diffusion.weight", "to_v_custom_diffusion.weight"))]
    report.missing = [key for key in wanted if key not in tensors]
    return values, report


def _adapter(path: Path, base: Base, tensors: Mapping[str, Tensor], partial: bool, overwrite: bool) -> Imported:
    """IP-Adapter's weights become those that `ip_adapter` starts from on this base."""
    from limner.core.weights import check_import, save_weights

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
    weights = {names[key]: tensors[key] for key in report.read}
    file = save_weights("ip_adapter", base, weights, about={"source": path.name}, overwrite=overwrite)
    return Imported("ip_adapter", report, weights=file)


def _qformer(path: Path, base: Base, partial: bool, overwrite: bool) -> Imported:
    """A released BLIP-Diffusion's Querying Transformer becomes the weights of `blip_diffusion` on the release as a
    base."""
    from limner.core.weights import check_import, save_weights

    check_import("blip_diffusion", base, overwrite=overwrite)
    tensors, about, report = read_qformer(path, base)
    _refuse(path, report, partial)
    file = save_weights("blip_diffusion", base, tensors, about=about, overwrite=overwrite)
    return Imported("blip_diffusion", report, weights=file)


def _weights(
    name: str, path: Path, base: Base, contents: tuple[dict[str, Tensor], Report], partial: bool, overwrite: bool
) -> Imported:
    """Tensors of a release become the weights that a method starts from on this base."""
    from limner.core.weights import check_import, save_weights

    check_import(name, base, overwrite=overwrite)
    tensors, report = contents
    _refuse(path, report, partial)
    file = save_weights(name, base, tensors, about={"source": path.name}, overwrite=overwrite)
    return Imported(name, report, weights=file)
