"""PhotoMaker's released weights: an identity encoder with its fusing perceptrons, and a LoRA of attention.

The authors' `.bin` holds {"id_encoder": …, "lora_weights": …}; as safetensors the same stand under these names and a dot
(`load_photomaker_adapter` of TencentARC/PhotoMaker reads both).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from limner.core.tensor_files import read_pickle, read_tensors
from limner.errors import FileError

if TYPE_CHECKING:
    from torch import Tensor

ENCODER, LORA, TOWER = "id_encoder", "lora_weights", "vision_model."
PROJECTIONS = ("visual_projection.weight", "visual_projection_2.weight")
LAYERS = {"layernorm": "norm", "fc1": "fc1", "fc2": "fc2"}
ENDS = ("weight", "bias")


@dataclass(frozen=True)
class ReleasedPhotoMaker:
    """What a file brings."""

    tower: Mapping[str, Tensor]  # of a CLIP image encoder, as transformers names it: "vision_model.…"
    fusing: Mapping[str, Tensor]  # as `parts.fusion.fused_words.fuse` names them
    lora: Mapping[str, Tensor]  # as the file names them


def read_photomaker(path: Path) -> ReleasedPhotoMaker:
    """A file of the authors' layout, .bin or .safetensors. Both projections of the image encoder's pooled output, side by side as wide as
    the text encoders' states, become one linear map. Raises `FileError` for anything else, and for what is lacking.
    """
    encoder, lora = _parts(path)
    fusing = {f"fuse_module.layer_norm.{end}": f"norm.{end}" for end in ENDS}
    for name in ("mlp1", "mlp2"):
        for theirs, ours in LAYERS.items():
            fusing |= {f"fuse_module.{name}.{theirs}.{end}": f"{name}.{ours}.{end}" for end in ENDS}
    lacking = [name for name in (*fusing, *PROJECTIONS) if name not in encoder]
    strange = [name for name in encoder if name not in (*fusing, *PROJECTIONS) and not name.startswith(TOWER)]
    if lacking or strange:
        raise FileError(
            f"{path} is no PhotoMaker of the first version: it "
            + (f"lacks {lacking[0]}" if lacking else f"has {strange[0][:200]}, which that does not")
        )
    own = {ours: encoder[theirs] for theirs, ours in fusing.items()}
    own |= _projected(path, encoder, own["norm.weight"])
    tower = {name: tensor for name, tensor in encoder.items() if name.startswith(TOWER)}
    return ReleasedPhotoMaker(tower, own, lora)


def _projected(path: Path, encoder: Mapping[str, Tensor], norm: Tensor) -> dict[str, Tensor]:
    """Both projections as one map with a bias of zeros."""
    import torch

    first, second = (encoder[name] for name in PROJECTIONS)
    if (
        first.ndim != 2
        or second.ndim != 2
        or first.shape[1] != second.shape[1]
        or len(first) + len(second) != len(norm)
    ):
        raise FileError(
            f"{path} is damaged: its projections are {tuple(first.shape)} and {tuple(second.shape)}, expected two that are "
            f"{len(norm)} numbers wide together"
        )
    whole = torch.cat([first, second])
    return {"project.weight": whole, "project.bias": whole.new_zeros(len(whole))}


def _parts(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The encoder's tensors and the LoRA's."""
    if path.suffix == ".safetensors":
        _, tensors = read_tensors(path, what="PhotoMaker")
        found = [
            {name.removeprefix(f"{part}."): t for name, t in tensors.items() if name.startswith(f"{part}.")}
            for part in (ENCODER, LORA)
        ]
    else:
        held = read_pickle(path)
        found = [held.get(part, {}) for part in (ENCODER, LORA)]
    encoder, lora = found
    if not isinstance(encoder, Mapping) or not isinstance(lora, Mapping) or not encoder:
        raise FileError(f"{path} is no PhotoMaker: expected {ENCODER!r} and {LORA!r} in it")
    tensors_only = all(hasattr(t, "shape") for part in found for t in part.values())
    if not tensors_only:
        raise FileError(f"{path} is no PhotoMaker: {ENCODER!r} and {LORA!r} are to hold tensors")
    return dict(encoder), dict(lora)
