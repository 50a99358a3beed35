"""Weights that the authors of adapters released, as the weights of their methods: IP-Adapter-FaceID (`ip_adapter` with
`sees` "face"), MS-Diffusion and SSR-Encoder.

- ip-adapter-faceid_*.bin holds {"image_proj": ..., "ip_adapter": ...}; in a safetensors file these are prefixes of
  names, followed by a dot.
- ms_adapter.bin holds {"image_proj": ..., "ms_adapter": ..., "dummy_image_tokens": tensor}.
- SSR-Encoder is a folder with pytorch_model.bin, the aligner, and pytorch_model_1.bin, the keys and values.

Sources: `ip_adapter_faceid.py` of tencent-ailab/IP-Adapter, `model.py` and `projection.py` of
MS-Diffusion/MS-Diffusion, `ssr_encoder.py` of Xiaojiu-z/SSR_Encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from limner.bases.common.names import RESAMPLER_ATTENTION, aligner_names, attention_sites, image_sites
from limner.core.tensor_files import read_pickle
from limner.errors import FileError

from .changes import Report

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base

ENDS = ("weight", "bias")
FREQUENCIES = 8  # frequencies of the positions of MS-Diffusion's boxes
SSR_FILES = ("pytorch_model.bin", "pytorch_model_1.bin")

Names = dict[str, str]
"""Name in the file -> name in the recipe."""


def is_face_id(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are the tensors of an IP-Adapter-FaceID."""
    return "image_proj.proj.0.weight" in tensors


def is_ms_diffusion(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are the tensors of a released MS-Diffusion."""
    return any(key.startswith("ms_adapter.") for key in tensors)


def is_ssr_encoder(path: Path) -> bool:
    """Whether this is the folder of a released SSR-Encoder."""
    return all((path / name).is_file() for name in SSR_FILES)


def read_face_id(path: Path, tensors: Mapping[str, Tensor], base: Base) -> tuple[dict[str, Tensor], Report]:
    """The tensors of `ip_adapter` with `sees` "face", by their names in its recipe, and what was read. Raises
    `FileError` for a FaceID Plus, which reads CLIP as well."""
    if any(key.startswith("image_proj.perceiver_resampler.") for key in tensors):
        raise FileError(
            f"{path} is an IP-Adapter-FaceID Plus, which reads CLIP beside the face: only FaceID is read here"
        )
    names = {f"image_proj.norm.{end}": f"image.face.norm.{end}" for end in ENDS}
    for layer_of_theirs, ours in (("0", "first"), ("2", "second")):
        names |= {f"image_proj.proj.{layer_of_theirs}.{end}": f"image.face.{ours}.{end}" for end in ENDS}
    names |= _keys_values(base, "ip_adapter", "ip")
    layers = base.projections("attention")
    for number, site in attention_sites(base).items():
        for part in ("q", "k", "v", "out"):
            layer = f"denoiser.{site}.to_{part}" + (".0" if part == "out" else "")
            if layer in layers:
                for end in ("down", "up"):
                    key = f"ip_adapter.{number}.to_{part}_lora.{end}.weight"
                    names[key] = f"ip_adapter.denoiser.{layer}.{end}"
    return _renamed(tensors, names)


def read_ms_diffusion(tensors: Mapping[str, Tensor], base: Base) -> tuple[dict[str, Tensor], Report]:
    """The tensors of `ms_diffusion` by their names in its recipe, and what was read.

    The dummy tokens are read and not used: where they are attended to, the release sets the output to zero.
    """
    inner = {
        "grounding_latents": "queries",
        "latent_proj.2.weight": "phrase.second",
        "latent_proj.2.bias": "phrase.second_bias",
    }
    inner |= {"latent_proj.0.weight": "phrase.first", "latent_proj.0.bias": "phrase.bias"}
    norms = (("latent_norm", "phrase.norm"), ("attention_norm", "last"), ("norm_out", "states"))
    for theirs, ours in (*norms, ("proj_in", "in"), ("proj_out", "out")):
        inner |= {f"{theirs}.{end}": f"{ours}.{end}" for end in ENDS}
    numbers = [key.split(".")[2] for key in tensors if key.startswith("image_proj.layers.")]
    for k in range(1 + max((int(number) for number in numbers if number.isdigit()), default=0)):
        layer = dict(RESAMPLER_ATTENTION) | {"1.1.weight": "first", "1.3.weight": "second"}
        for norm, ours in (("0.norm1", "patches"), ("0.norm2", "latents"), ("1.0", "forward")):
            layer |= {f"{norm}.{end}": f"{ours}.{end}" for end in ENDS}
        inner |= {f"layers.{k}.{a}": f"{k}.{b}" for a, b in layer.items()}
    names = {f"image_proj.{a}": f"grounded.{b}" for a, b in inner.items()} | _keys_values(base, "ms_adapter", "ip")
    renamed, report = _renamed(tensors, names)
    if "dummy_image_tokens" in report.ignored:
        report.ignored.remove("dummy_image_tokens")
        report.read.append("dummy_image_tokens")
    changes: dict[str, Callable[[Tensor], Tensor]] = {
        "grounded.queries": lambda x: x.flatten(0, -2),  # [1, tokens, width]
        "grounded.phrase.first": _boxes_in_our_order,
    }
    return {name: changes[name](tensor) if name in changes else tensor for name, tensor in renamed.items()}, report


def _boxes_in_our_order(weight: Tensor) -> Tensor:
    """The columns of a box's features, the last ones, go from [frequency, sine or cosine, edge] to [edge, sine or
    cosine, frequency]."""
    import torch

    count = 2 * 4 * FREQUENCIES
    box = weight[:, -count:].unflatten(1, (FREQUENCIES, 2, 4)).permute(0, 3, 2, 1).flatten(1)
    return torch.cat([weight[:, :-count], box], 1)


def read_ssr_encoder(path: Path, base: Base) -> tuple[dict[str, Tensor], Report]:
    """The tensors of `ssr_encoder` by their names in its recipe, and what was read.

    path: the folder

    Raises `FileError` for files that hold anything else.
    """
    aligner, layers = (read_pickle(path / name) for name in SSR_FILES)
    tensors = {
        **{f"aligner/{key}": value for key, value in aligner.items()},
        **{f"layers/{key}": v for key, v in layers.items()},
    }
    names = {f"aligner/{theirs}": f"selected.{ours}" for theirs, ours in aligner_names().items()}
    names |= {f"layers/{key}": name for key, name in _keys_values(base, "", "SSR").items()}
    if not names.keys() & tensors.keys():
        raise FileError(f"{path} is no SSR-Encoder: its files have {', '.join(list(tensors)[:3])}")
    return _renamed(tensors, names)


def _keys_values(base: Base, table: str, what: str) -> Names:
    start = f"{table}." if table else ""
    return {
        f"{start}{number}.to_{theirs}_{what}.weight": f"image.{site}.{ours}"
        for number, site in image_sites(base).items()
        for theirs, ours in (("k", "key"), ("v", "value"))
    }


def _renamed(tensors: Mapping[str, Tensor], names: Names) -> tuple[dict[str, Tensor], Report]:
    report = Report(
        read=[key for key in tensors if key in names],
        ignored=[key for key in tensors if key not in names],
        missing=[key for key in names if key not in tensors],
    )
    return {names[key]: tensors[key] for key in report.read}, report
