"""Opening a base by name, folder or hub id."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.errors import FileError, InputError
from limner.pocket import SIZE

if TYPE_CHECKING:
    from .protocol import Base

POCKET = Path(__file__).parent.parent / "pocket" / "weights" / "base"
FAMILIES = {"StableDiffusionPipeline": "stable_diffusion"}
"""Pipeline class in model_index.json -> module of this package with a `load`."""
DTYPES = ("float32", "float16", "bfloat16")


def load(name: str | Path = "pocket", *, device: str | None = None, dtype: str = "float32") -> Base:
    """Open "pocket", a folder in diffusers' layout, or a hub id such as "org/model".

    `device` None is the GPU where there is one. Raises `FileError` for a folder that is no base, `InputError` for a
    family that is not supported or a device that is not there.
    """
    import torch

    if dtype not in DTYPES:
        raise InputError(f"the data type must be one of {', '.join(DTYPES)}, not {dtype!r}")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError("there is no CUDA device here; use device 'cpu'")
    folder = POCKET if name == "pocket" else name
    family = FAMILIES.get(pipeline_class(folder))
    if family is None:
        known = ", ".join(FAMILIES)
        raise InputError(f"{name} is a {pipeline_class(folder)}, a family limner does not open yet; it opens: {known}")
    loader = importlib.import_module(f".{family}", __package__)
    base: Base = loader.load(folder, device=device, dtype=getattr(torch, dtype))
    if name == "pocket":
        base.name = "pocket"
    return base


def pipeline_class(folder: Path | str) -> str:
    """The pipeline's class name in model_index.json, of a folder or of a hub id."""
    path = Path(folder).expanduser()
    if path.is_dir():
        index = path / "model_index.json"
        if not index.exists():
            raise FileError(f"{path} has no model_index.json: expected a folder in diffusers' layout")
    else:
        index = _from_hub(str(folder))
    return str(json.loads(index.read_text()).get("_class_name"))


def _from_hub(name: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    from huggingface_hub.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()  # what matters of its complaints is in the error below
    try:
        return Path(hf_hub_download(name, "model_index.json"))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise FileError(
            f"there is no base {name!r}: expected 'pocket', a folder in diffusers' layout, or a hub id that can be reached ({type(error).__name__})"
        ) from error
    finally:
        logging.set_verbosity(level)


def known_bases() -> list[dict[str, Any]]:
    """What `load` opens: the base that ships inside, and every family."""
    size = sum(f.stat().st_size for f in POCKET.rglob("*") if f.is_file()) if POCKET.exists() else 0
    about = "trained by limner on its own toy world; knows toys, not photographs"
    pocket = {
        "name": "pocket",
        "family": "stable_diffusion",
        "picture_size": SIZE,
        "megabytes": round(size / 1e6, 1),
        "about": about,
    }
    diffusers = {
        "name": "FOLDER or HUB/ID",
        "family": "stable_diffusion",
        "picture_size": 512,
        "megabytes": None,
        "about": "any Stable Diffusion 1.x or 2.x in diffusers' layout",
    }
    return [pocket, diffusers]
