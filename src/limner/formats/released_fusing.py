"""Read released weights of methods that fuse image features with word embeddings: PhotoMaker's first version, and
FastComposer.

- photomaker-v1.bin holds {"id_encoder": ..., "lora_weights": ...}; in a safetensors file, these are prefixes of names,
  followed by a dot.
- FastComposer's pytorch_model.bin holds one model, with the prefixes "image_encoder.", "postfuse_module.",
  "text_encoder.", "unet." and "vae."

Sources: `load_photomaker_adapter` of TencentARC/PhotoMaker, `fastcomposer/model.py` of mit-han-lab/fastcomposer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.core.tensor_files import read_pickle, read_tensors
from limner.errors import FileError

if TYPE_CHECKING:
    from torch import Tensor

TOWER, PROJECTION = "vision_model.", "visual_projection.weight"
LAYERS = {"layernorm": "norm", "fc1": "fc1", "fc2": "fc2"}
ENDS = ("weight", "bias")


@dataclass(frozen=True)
class ReleasedFusing:
    """The contents of a file."""

    tower: Mapping[str, Tensor]
    """Weights of a CLIP image encoder, by transformers' names: "vision_model...."."""
    fusing: Mapping[str, Tensor]
    """Weights of the fusion module, by the names of `parts.fusion.fused_words.fuse`, for the encoder's pooled
    output."""
    denoiser: Mapping[str, Tensor]
    """Weights of PhotoMaker's LoRA or FastComposer's whole denoiser, by the file's names."""


def read_photomaker(path: Path) -> ReleasedFusing:
    """Read PhotoMaker's file. Both projections of the image encoder's pooled output become one linear map; their widths
    add up to that of the text encoders' hidden states. Raises `FileError` for another file, and for missing or unknown
    names."""
    tensors = _whole(path, nested=("id_encoder", "lora_weights"))
    encoder, lora = (_under(f"{part}.", tensors) for part in ("id_encoder", "lora_weights"))
    if not encoder:
        raise FileError(f"{path} is no PhotoMaker: expected 'id_encoder' and 'lora_weights' in it")
    projections = (PROJECTION, "visual_projection_2.weight")
    known = {*_names("fuse_module."), *projections}
    strange = [name for name in encoder if name not in known and not name.startswith(TOWER)]
    if strange:
        raise FileError(
            f"{path} is no PhotoMaker of the first version: it has {strange[0][:200]}, which that version lacks"
        )
    return ReleasedFusing(_tower(encoder), _fusing(path, encoder, "fuse_module.", projections), lora)


def read_fastcomposer(path: Path) -> ReleasedFusing:
    """Read FastComposer's file. Raises `FileError` for another file, and for missing names."""
    tensors = _whole(path)
    encoder, denoiser = _under("image_encoder.", tensors), _under("unet.", tensors)
    if not encoder or not denoiser:
        raise FileError(f"{path} is no FastComposer: expected an 'image_encoder' and a 'unet' in it")
    both = {**encoder, **{name: t for name, t in tensors.items() if name.startswith("postfuse_module.")}}
    return ReleasedFusing(_tower(encoder), _fusing(path, both, "postfuse_module.", (PROJECTION,)), denoiser)


def _fusing(path: Path, tensors: Mapping[str, Tensor], prefix: str, projections: Sequence[str]) -> dict[str, Tensor]:
    """The fusion module's parameters by our names; the stacked projections are one linear map with a bias of zeros."""
    import torch

    names = _names(prefix)
    lacking = [name for name in (*names, *projections) if name not in tensors]
    if lacking:
        raise FileError(f"{path} lacks {lacking[0]}, a weight of the fusion module; the file is damaged")
    parameters = {ours: tensors[theirs] for theirs, ours in names.items()}
    parts, wide = [tensors[name] for name in projections], len(parameters["norm.weight"])
    flat = any(part.ndim != 2 or part.shape[1:] != parts[0].shape[1:] for part in parts)
    if flat or sum(map(len, parts)) != wide:
        shapes = " and ".join(str(tuple(part.shape)) for part in parts)
        raise FileError(f"{path} is damaged: its projections are {shapes}, expected {wide} rows together")
    whole = torch.cat(parts)
    return parameters | {"project.weight": whole, "project.bias": whole.new_zeros(wide)}


def _names(prefix: str) -> dict[str, str]:
    """The file's names of the perceptrons and the last norm -> our names."""
    names = {f"{prefix}layer_norm.{end}": f"norm.{end}" for end in ENDS}
    for name in ("mlp1", "mlp2"):
        for theirs, ours in LAYERS.items():
            names |= {f"{prefix}{name}.{theirs}.{end}": f"{name}.{ours}.{end}" for end in ENDS}
    return names


def _tower(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if name.startswith(TOWER)}


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _whole(path: Path, *, nested: Sequence[str] = ()) -> dict[str, Tensor]:
    """A file's tensors by name; nested names of a pickle are joined by a dot. Raises `FileError` for a file that holds
    anything else."""
    if path.suffix == ".safetensors":
        return read_tensors(path)[1]
    held: dict[str, Any] = read_pickle(path)
    for part in nested:
        inner = held.pop(part, {})
        if not isinstance(inner, Mapping):
            raise FileError(f"{path}: {part!r} is a {type(inner).__name__}, expected tensors by name")
        held |= {f"{part}.{name}": tensor for name, tensor in inner.items()}
    strange = next((name for name, value in held.items() if not hasattr(value, "shape")), None)
    if strange is not None:
        raise FileError(f"{path}: {str(strange)[:200]!r} is no tensor; it is not opened")
    return held
