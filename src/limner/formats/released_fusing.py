"""Released weights of methods that fuse image features with word embeddings, as the weights of `photomaker` and
`fastcomposer` with their setting `released`: PhotoMaker's first version, and FastComposer.

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
from limner.parts.encoders.own_tower import TOWER as TOWER_IN_RECIPE

from .changes import Report, read_changes

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base

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


def is_photomaker(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are the tensors of a released PhotoMaker, of any version."""
    return any(name.startswith("id_encoder.") for name in tensors)


def is_fastcomposer(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are the tensors of a released FastComposer."""
    return any(name.startswith("postfuse_module.") for name in tensors)


def photomaker_weights(path: Path, tensors: Mapping[str, Tensor], base: Base) -> tuple[dict[str, Tensor], Report]:
    """The tensors of `photomaker` with `released`, by their names in its recipe, and what was read. The LoRA changes
    every layer of the denoiser's attention, by the keys of any version of diffusers. Raises `FileError` for another
    file."""
    release = read_photomaker(path, tensors)
    changes = read_changes(base, release.denoiser)
    report = changes.report
    layers = base.projections("attention")
    report.missing += [f"lora_weights of {layer}" for layer in layers if layer not in changes.changes]
    report.ignored += [f"lora_weights of {layer}" for layer in changes.changes if layer not in layers]
    made = _fusing_tensors("photomaker", release)
    report.read += list(made)
    for layer, change in changes.changes.items():
        if change.kind != "lora" or set(change.factors) != {"down", "up"}:
            raise FileError(f"{path} has a change of {layer} that is no LoRA: it is no PhotoMaker of the first version")
        made[f"photomaker.denoiser.{layer}.down"] = change.factors["down"]
        made[f"photomaker.denoiser.{layer}.up"] = change.strength * change.factors["up"]
    return made, report


def fastcomposer_weights(path: Path, tensors: Mapping[str, Tensor], base: Base) -> tuple[dict[str, Tensor], Report]:
    """The tensors of `fastcomposer` with `released`, by their names in its recipe, and what was read. The denoiser's
    whole weights are among them.

    The file's text encoder and autoencoder were not trained: the text encoder is compared with the base's, and the
    autoencoder is not read. Raises `FileError` for another file, and where the text encoder is not the base's.
    """
    release = read_fastcomposer(path, tensors)
    own = base.module("denoiser").state_dict()
    report = Report(
        read=[f"unet.{name}" for name in release.denoiser if name in own],
        ignored=[f"unet.{name}" for name in release.denoiser if name not in own],
        missing=[f"unet.{name}" for name in own if name not in release.denoiser],
    )
    for name in set(own) & set(release.denoiser):
        if own[name].shape != release.denoiser[name].shape:
            raise FileError(
                f"{path}: unet.{name} is {tuple(release.denoiser[name].shape)}, and {base.name} has "
                f"{tuple(own[name].shape)} there: import it for the base that it was trained on"
            )
    _check_text_encoder(path, tensors, base)
    made = _fusing_tensors("fastcomposer", release)
    report.read += list(made)
    return made | {f"denoiser.{name}": tensor for name, tensor in release.denoiser.items() if name in own}, report


def _fusing_tensors(name: str, release: ReleasedFusing) -> dict[str, Tensor]:
    """The image encoder and the fusion module by their names in a recipe."""
    tower = {
        f"{TOWER_IN_RECIPE}{key}": tensor for key, tensor in release.tower.items() if not key.endswith("position_ids")
    }
    return {f"states.{name}.{key}": tensor for key, tensor in {**tower, **release.fusing}.items()}


def _check_text_encoder(path: Path, tensors: Mapping[str, Tensor], base: Base) -> None:
    import torch

    def bare(name: str) -> str:
        return name.removeprefix("text_encoder.").removeprefix("text_model.")

    theirs = {bare(n): t for n, t in tensors.items() if n.startswith("text_encoder.") and t.is_floating_point()}
    own = {bare(name): tensor for name, tensor in base.module("text_encoder").state_dict().items()}
    for name, tensor in theirs.items():
        ours = own.get(name)
        same = ours is not None and ours.shape == tensor.shape
        if not same or not torch.allclose(ours.cpu().float(), tensor.float(), atol=1e-2):  # type: ignore[union-attr]
            raise FileError(
                f"{path} was trained with another text encoder than that of {base.name} ({name} differs): import it for "
                "the Stable Diffusion that it was trained on"
            )


def read_photomaker(path: Path, tensors: Mapping[str, Tensor] | None = None) -> ReleasedFusing:
    """Read PhotoMaker's file, or its tensors where these are given. Both projections of the image encoder's pooled
    output become one linear map; their widths add up to that of the text encoders' hidden states. Raises `FileError`
    for another file, and for missing or unknown names."""
    tensors = _whole(path, nested=("id_encoder", "lora_weights")) if tensors is None else tensors
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


def read_fastcomposer(path: Path, tensors: Mapping[str, Tensor] | None = None) -> ReleasedFusing:
    """Read FastComposer's file, or its tensors where these are given. Raises `FileError` for another file, and for
    missing names."""
    tensors = _whole(path) if tensors is None else tensors
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
