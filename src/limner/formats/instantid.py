"""InstantID as it was released: a folder with ip-adapter.bin and ControlNetModel/, which become the weights of
`instantid`.

Source: `load_ip_adapter_instantid` of InstantID's pipeline, which diffusers has among its community examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from limner.bases.common.control import open_control
from limner.bases.common.names import RESAMPLER_ATTENTION, image_sites
from limner.core.tensor_files import read_pickle, read_tensors
from limner.errors import FileError

from .changes import Report

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base

ADAPTERS = ("ip-adapter.bin", "ip-adapter.safetensors")
NETWORK = "ControlNetModel"
CONTROL, IDENTITY = "control.keypoints.", "image.identity."
"""How the names of IdentityNet's tensors and of the resampler's begin in the recipe."""
ENDS = ("weight", "bias")


def is_instantid(path: Path) -> bool:
    """Is this such a folder?"""
    return (path / NETWORK / "config.json").is_file() and any((path / name).is_file() for name in ADAPTERS)


def read_instantid(path: Path, base: Base) -> tuple[dict[str, Tensor], Report]:
    """The tensors of `instantid` by their names in its recipe, and what was read.

    Raises `FileError` for a file that holds anything else, and `InputError` for a control network of another base.
    """
    adapter = _adapter(next(path / name for name in ADAPTERS if (path / name).is_file()))
    names = {**_resampler_names(adapter), **_attention_names(base)}
    report = Report(
        read=[key for key in adapter if key in names],
        ignored=[key for key in adapter if key not in names],
        missing=[key for key in names if key not in adapter],
    )
    tensors = {names[key]: adapter[key] for key in report.read}
    queries = f"{IDENTITY}queries"
    if queries in tensors:
        tensors[queries] = tensors[queries].flatten(0, -2)  # [1, tokens, width]
    network = open_control(path / NETWORK, base).state_dict()
    report.read += [f"{NETWORK}.{key}" for key in network]
    return tensors | {f"{CONTROL}{key}": tensor for key, tensor in network.items()}, report


def _adapter(path: Path) -> dict[str, Tensor]:
    """The file's tensors, those of its two tables with a dot between."""
    if path.suffix == ".safetensors":
        return read_tensors(path)[1]
    held = read_pickle(path)
    if set(held) != {"image_proj", "ip_adapter"} or not all(isinstance(table, Mapping) for table in held.values()):
        raise FileError(f"{path} is no adapter of InstantID: expected the tables 'image_proj' and 'ip_adapter' in it")
    return {f"{part}.{key}": tensor for part, table in held.items() for key, tensor in table.items()}


def _resampler_names(adapter: Mapping[str, Tensor]) -> dict[str, str]:
    """Their names of the resampler's tensors -> ours; as many layers as the file has, at least one."""
    theirs = [key.split(".")[2] for key in adapter if key.startswith("image_proj.layers.")]
    names = {"latents": "queries"}
    names |= {f"proj_in.{end}": f"in.{end}" for end in ENDS} | {f"proj_out.{end}": f"out.{end}" for end in ENDS}
    names |= {f"norm_out.{end}": f"states.{end}" for end in ENDS}
    for k in range(1 + max((int(number) for number in theirs if number.isdigit()), default=0)):
        layer = dict(RESAMPLER_ATTENTION)
        layer |= {"1.1.weight": "first", "1.3.weight": "second"}
        for norm, ours in (("0.norm1", "patches"), ("0.norm2", "latents"), ("1.0", "forward")):
            layer |= {f"{norm}.{end}": f"{ours}.{end}" for end in ENDS}
        names |= {f"layers.{k}.{a}": f"{k}.{b}" for a, b in layer.items()}
    return {f"image_proj.{a}": f"{IDENTITY}{b}" for a, b in names.items()}


def _attention_names(base: Base) -> dict[str, str]:
    parts = (("k", "key"), ("v", "value"))
    return {
        f"ip_adapter.{number}.to_{theirs}_ip.weight": f"image.{site}.{ours}"
        for number, site in image_sites(base).items()
        for theirs, ours in parts
    }
