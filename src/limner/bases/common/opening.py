"""Read the networks of a pipeline from a folder, the hub or one file, at a given precision and on a given device."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from limner.core.quiet import quiet
from limner.errors import FileError, InputError

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
QUANTISED = ("int8", "nf4")
DISTILLED = {
    r"turbo": "few steps without guidance (adversarial distillation)",
    r"schnell": "few steps without guidance (timestep distillation)",
    r"lightning": "few steps (progressive adversarial distillation)",
    r"hyper[-_]?sd": "few steps (trajectory distillation)",
    r"\blcm\b|[-_]lcm|lcm[-_]": "few steps (latent consistency)",
    r"sprint": "few steps (consistency distillation)",
}
"""Pattern in the name of a distilled checkpoint -> the purpose of its distillation."""


SAME = {"ContextCLIPTextModel": ("transformers", "CLIPTextModel")}
"""Class that a single pipeline uses -> library and class that read the same weights."""


@dataclass
class Opening:
    """The source of a base, and the device and precision to load it with."""

    source: str  # folder, hub id, or the file that `parts` were read from
    device: str = "cpu"
    dtype: str = "float32"
    dtypes: Mapping[str, str] = field(default_factory=dict)  # part of the base -> its own data type
    quantise: str = ""  # quantisation of the denoiser: "int8" (torchao) or "nf4" (bitsandbytes)
    offline: bool = False
    index: Mapping[str, Any] = field(default_factory=dict)  # model_index.json
    parts: Mapping[str, Any] = field(default_factory=dict)  # folder's name -> network that is already in memory
    roles: dict[str, str] = field(default_factory=dict)  # part of the base -> the folder it was read from
    beside: list[Opening] = field(default_factory=list)  # further folders that belong to the base

    @property
    def name(self) -> str:
        """The name of the file or folder without its path, or the whole hub id, which opens the base again."""
        if self.source.endswith(".safetensors"):
            return Path(self.source).stem
        return Path(self.source).name if Path(self.source).is_dir() else self.source

    @property
    def image_encoder(self) -> Path | None:
        beside = [Path(self.source) / place for place in ("image_encoder", "../clip")]
        return next((place for place in beside if place.is_dir()), None)

    def has(self, part: str) -> bool:
        return part in self.parts or bool((self.index.get(part) or [None])[0])

    def network(self, part: str, *, role: str = "") -> Any:
        """Read one of diffusers' networks, from safetensors only; downloads nothing when `offline`.

        part: name of its folder
        role: part of the base; empty for the part that the folder's name implies
        """
        role = role or {"vae": "autoencoder", "movq": "autoencoder", "vqvae": "autoencoder"}.get(part, "denoiser")
        more = self._quantisation() if role == "denoiser" and self.quantise else {}
        return self._read(part, role, **more)

    def text_encoder(self, part: str = "text_encoder") -> Any:
        role = {"image_encoder": "prior_pictures"}.get(part.removeprefix("prior_"), part.removeprefix("prior_"))
        return self._read(part, role)

    def tokenizer(self, part: str = "tokenizer") -> Any:
        if part in self.parts:
            return self.parts[part]
        return self._class(part).from_pretrained(self.source, **self._from(part))

    def scheduler(self, part: str = "scheduler") -> Any:
        if part in self.parts:
            return self.parts[part]
        return self._class(part).from_pretrained(self.source, **self._from(part))

    def _read(self, part: str, role: str, **more: Any) -> Any:
        if part in self.parts:
            component = self.parts[part]
            single = role == "autoencoder" and self._upcasts(dict(component.config))
            return component.to(self.device, torch.float32 if single else None)
        self.roles[role] = part
        dtype = DTYPES[self.dtypes.get(role, self.dtype)]
        if role == "autoencoder" and self._upcasts(self._class(part).load_config(self.source, **self._from(part))):
            dtype = torch.float32
        key = "torch_dtype" if self.index[part][0] == "diffusers" else "dtype"
        with quiet():
            try:
                component = self._class(part).from_pretrained(
                    self.source, use_safetensors=True, **{key: dtype}, **self._from(part), **more
                )
            except (OSError, ValueError, RuntimeError) as error:
                raise FileError(f"{part} of {self.source} cannot be read: {_first_line(error)}") from error
        return component if more else component.to(self.device)

    def _upcasts(self, config: Mapping[str, Any]) -> bool:
        """Whether the autoencoder runs in single precision instead of float16, because its settings say that it
        overflows in float16 (as in diffusers' own pipeline)."""
        return bool(config.get("force_upcast")) and self.dtypes.get("autoencoder", self.dtype) == "float16"

    def _from(self, part: str) -> dict[str, Any]:
        return {"subfolder": part, **({"local_files_only": True} if self.offline else {})}

    @property
    def stored_bytes(self) -> dict[str, int]:
        """Part of the base -> size of its files in bytes; empty for a hub id."""
        if not Path(self.source).is_dir():
            return {}
        # "x.safetensors" is read, and a variant such as "x.fp16.safetensors" beside it is not.
        plain = {
            role: [path for path in self.files(part) if path.name.count(".") == 1] for role, part in self.roles.items()
        }
        own = {role: sum(path.stat().st_size for path in paths) for role, paths in plain.items()}
        return own | {role: size for other in self.beside for role, size in other.stored_bytes.items()}

    def _class(self, part: str) -> Any:
        library, name = self.index.get(part) or (None, None)
        if library is None or name is None:
            raise FileError(f"{self.source} has no {part}: expected one in its model_index.json")
        return _class_of(library, name)

    @property
    def all_files(self) -> dict[str, list[Path]]:
        """Part of the base -> the files that it was read from."""
        own = {role: self.files(part) for role, part in self.roles.items()}
        return own | {role: files for other in self.beside for role, files in other.all_files.items()}

    def files(self, part: str) -> list[Path]:
        """Local paths of a part's safetensors files."""
        folder = Path(self.source)
        if not folder.is_dir():
            from huggingface_hub import snapshot_download

            folder = Path(snapshot_download(self.source, allow_patterns=[f"{part}/*"], local_files_only=True))
        return sorted((folder / part).glob("*.safetensors"))

    def _quantisation(self) -> dict[str, Any]:
        try:
            if self.quantise == "int8":
                from diffusers import TorchAoConfig
                from torchao.quantization import Int8WeightOnlyConfig

                return {"quantization_config": TorchAoConfig(Int8WeightOnlyConfig())}
            from diffusers import BitsAndBytesConfig

            about = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": DTYPES[self.dtype]}
            return {"quantization_config": BitsAndBytesConfig(**about)}
        except ImportError as error:
            extra = {"int8": "torchao", "nf4": "bitsandbytes"}[self.quantise]
            raise InputError(f"to quantise to {self.quantise}, install {extra}: pip install limner[{extra}]") from error

    @functools.cached_property
    def distilled(self) -> str:
        """Purpose of the checkpoint's distillation, by its name and settings; empty where they name none."""
        names = f"{self.name} {self.index.get('_name_or_path', '')}".lower()
        if self.index.get("is_distilled"):
            return "few steps without guidance (its model_index.json says so)"
        if self.has("scheduler") and type(self.scheduler()).__name__ in ("LCMScheduler", "TCDScheduler"):
            return "few steps (its scheduler says so)"
        return next((what for pattern, what in DISTILLED.items() if re.search(pattern, names)), "")


@dataclass
class Sketching(Opening):
    """A base on torch's meta device: shapes without values, to learn its size before it is loaded."""

    def _read(self, part: str, role: str, **more: Any) -> Any:
        cls, where = self._class(part), self._from(part)
        self.roles[role] = part
        with torch.device("meta"), quiet():
            if self.index[part][0] == "diffusers":
                return cls.from_config(cls.load_config(self.source, **where))
            return cls(cls.config_class.from_pretrained(self.source, **where))


def _class_of(library: str, name: str) -> Any:
    import diffusers
    import transformers

    library, name = SAME.get(name, (library, name))
    where: Any = diffusers if library == "diffusers" else transformers
    for known in (name, name.removesuffix("Fast")):
        if hasattr(where, known):
            return getattr(where, known)
    raise InputError(f"{library} {where.__version__} has no {name}; a newer version may have it")


def read_index(source: str, *, offline: bool = False) -> dict[str, Any]:
    """Read model_index.json of a folder or hub id. Raises `FileError` where there is none, or it is not JSON."""
    path = Path(source).expanduser()
    if path.is_dir():
        index = path / "model_index.json"
        if not index.exists():
            raise FileError(f"{path} has no model_index.json: expected a folder in diffusers' layout")
    else:
        index = _from_hub(source, offline)
    try:
        content: dict[str, Any] = json.loads(index.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FileError(f"{index} is not JSON ({error}); download the base again") from error
    return content


def _from_hub(name: str, offline: bool) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    from huggingface_hub.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()  # the error below carries the relevant part of the hub's messages
    try:
        return Path(hf_hub_download(name, "model_index.json", local_files_only=offline))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        where = "in the cache (the network is switched off)" if offline else "that can be reached"
        raise FileError(
            f"there is no base {name!r}: expected 'pocket', a folder in diffusers' layout, a .safetensors file, or a "
            f"hub id {where} ({type(error).__name__})"
        ) from error
    finally:
        logging.set_verbosity(level)


def read_file(path: Path, *, config: str | None, dtype: str, offline: bool) -> tuple[str, dict[str, Any]]:
    """Read one checkpoint file in its makers' layout with diffusers; return the name of its pipeline class, and its
    networks by name.

    path: the .safetensors file
    config: folder or hub id of the same family, for tokenizers and settings, which the file lacks; None lets diffusers
        choose one on the hub
    dtype: a name of `DTYPES`
    offline: download nothing
    """
    import diffusers
    from diffusers.loaders.single_file_utils import infer_diffusers_model_type, load_single_file_checkpoint

    if not path.is_file():
        raise FileError(f"there is no file {path}")
    try:
        kind = infer_diffusers_model_type(load_single_file_checkpoint(str(path)))
    except Exception as error:  # safetensors, torch and diffusers each raise their own classes
        raise FileError(f"{path} cannot be read as a checkpoint: {_first_line(error)}") from error
    name = next((cls for start, cls in _SINGLE.items() if kind.startswith(start)), None)
    if name is None:
        raise InputError(f"{path} is a {kind} checkpoint; limner opens single files of: {', '.join(_SINGLE)}")
    arguments = {"config": config} if config else {}
    try:
        with quiet():
            pipeline = getattr(diffusers, name).from_single_file(
                str(path), torch_dtype=DTYPES[dtype], local_files_only=offline, **arguments
            )
    except Exception as error:  # likewise
        raise FileError(
            f"{path} ({kind}) cannot be opened: {_first_line(error)}. Give the family's settings with config=FOLDER or "
            "--base-config FOLDER, or let diffusers ask the hub"
        ) from error
    return name, dict(pipeline.components)


_SINGLE = {
    "v1": "StableDiffusionPipeline",
    "v2": "StableDiffusionPipeline",
    "inpainting": "StableDiffusionInpaintPipeline",
    "xl_base": "StableDiffusionXLPipeline",
    "xl_inpaint": "StableDiffusionXLInpaintPipeline",
    "playground": "StableDiffusionXLPipeline",
    "sd3": "StableDiffusion3Pipeline",
    "sd35": "StableDiffusion3Pipeline",
    "flux-": "FluxPipeline",
}
"""Prefix of diffusers' name for a kind of checkpoint -> the pipeline that opens it."""


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
