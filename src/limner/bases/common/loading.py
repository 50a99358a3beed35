"""Opening a base by name, folder, hub id or file."""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from limner.errors import InputError
from limner.pocket import SIZE

if TYPE_CHECKING:
    from types import ModuleType

    from limner.core.base import Base
    from limner.core.capabilities import Capabilities, Facts

    from .opening import Opening

POCKET = Path(__file__).parent.parent.parent / "pocket" / "weights" / "base"


class Known(NamedTuple):
    """One row of `limner bases`: a supported family."""

    module: str
    title: str
    pipelines: tuple[str, ...]  # classes in model_index.json
    learns: str  # target of the denoiser's prediction
    attention: str
    words: str  # text encoders that read learned words
    note: str = ""
    group: str = "diffusion"  # folder of the module in `bases/`


FAMILIES = (
    Known("stable_diffusion", "Stable Diffusion 1.x, 2.x", ("StableDiffusionPipeline", "BlipDiffusionPipeline", "StableDiffusionInpaintPipeline", "StableDiffusionInstructPix2PixPipeline", "StableDiffusionDepth2ImgPipeline"), "noise or velocity", "self and cross", "CLIP"),
    Known("sdxl", "Stable Diffusion XL", ("StableDiffusionXLPipeline", "StableDiffusionXLInpaintPipeline"), "noise", "self and cross", "CLIP and OpenCLIP"),
    Known("sd3", "Stable Diffusion 3, 3.5", ("StableDiffusion3Pipeline",), "flow", "joint", "CLIP, OpenCLIP and T5"),
    Known("flux", "FLUX.1", ("FluxPipeline",), "flow", "joint and merged", "CLIP and T5", "dev reads the scale of guidance as an input"),
    Known("flux2", "FLUX.2 klein", ("Flux2KleinPipeline",), "flow", "joint and merged", "Qwen3"),
    Known("qwen_image", "Qwen-Image", ("QwenImagePipeline",), "flow", "joint", "Qwen2.5-VL", "guidance keeps the prediction's norm"),
    Known("pixart", "PixArt-Sigma", ("PixArtSigmaPipeline",), "noise", "self and cross", "T5"),
    Known("sana", "Sana", ("SanaPipeline",), "flow", "linear, and cross", "Gemma 2", "operations act in cross-attention only"),
    Known("kandinsky", "Kandinsky 2.2", ("KandinskyV22CombinedPipeline",), "noise", "joint", "CLIP of the prior", "a prior turns the prompt into the image embedding that the decoder reads"),
    Known("deepfloyd", "DeepFloyd IF", ("IFPipeline",), "noise, in pixels", "joint", "T5", "a second stage in stage_2/ enlarges"),
    Known("amused", "aMUSEd", ("AmusedPipeline",), "masked tokens", "self and cross", "CLIP", "trained by cross-entropy; no noise schedule", "autoregressive"),
)  # fmt: skip
"""Every family, its module in `bases/` and the pipeline classes it opens."""


EXAMPLES = {
    "stable_diffusion": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "sdxl": "stabilityai/stable-diffusion-xl-base-1.0",
    "sd3": "stabilityai/stable-diffusion-3.5-medium",
    "flux": "black-forest-labs/FLUX.1-dev",
    "qwen_image": "Qwen/Qwen-Image",
    "pixart": "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS",
    "sana": "Efficient-Large-Model/Sana_1600M_1024px_diffusers",
    "deepfloyd": "DeepFloyd/IF-I-XL-v1.0",
    "amused": "amused/amused-512",
}
"""Family -> hub id of its makers' own checkpoint. A checkpoint is downloaded only when the user names it, and has its
own licence."""
SUGGESTED = EXAMPLES["stable_diffusion"]
"""The base that limner suggests for photographs: the smallest, about 4 GB."""


def load(
    name: str | Path = "pocket",
    *,
    device: str | None = None,
    dtype: str = "float32",
    dtypes: Mapping[str, str] | None = None,
    quantise: str = "",
    offload: bool = False,
    tiling: bool = False,
    checkpointing: bool = False,
    offline: bool | None = None,
    config: str | Path | None = None,
    faces: str | Path | None = None,
) -> Base:
    """Open a base.

    Args:
        name: "pocket", a folder in diffusers' layout, a hub id such as "org/model", or one .safetensors checkpoint
        device: "cpu" or "cuda"; None takes the GPU where there is one
        dtype: "float32", "float16" or "bfloat16"
        dtypes: part of the base ("text_encoder", "autoencoder", …) -> its own data type
        quantise: "int8" (needs torchao) or "nf4" (needs bitsandbytes) quantises the denoiser
        offload: text encoders and autoencoder wait in the computer's memory while they are idle
        tiling: decode a picture in slices and tiles, which takes less memory
        checkpointing: gradient checkpointing, which computes activations twice instead of keeping them
        offline: download nothing; None follows the environment variable HF_HUB_OFFLINE
        config: folder or hub id with the settings for a single file
        faces: folder with facenet-pytorch's or insightface's models, which detect and recognise faces of photographs
            (see `bases.common.faces`)

    Raises `FileError` where there is no base, and `InputError` for an unsupported family or a missing device.
    """
    import torch

    from .opening import DTYPES, QUANTISED, Opening, read_file, read_index
    from .patches import patch_folder

    for asked in (dtype, *(dtypes or {}).values()):
        if asked not in DTYPES:
            raise InputError(f"the data type must be one of {', '.join(DTYPES)}, not {asked!r}")
    if quantise and quantise not in QUANTISED:
        raise InputError(f"quantise must be one of {', '.join(QUANTISED)}, not {quantise!r}")
    device = checked_device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    offline = _offline() if offline is None else offline
    source = str(POCKET if name == "pocket" else Path(name).expanduser() if Path(name).expanduser().exists() else name)
    if source.endswith((".safetensors", ".ckpt")):
        if source.endswith(".ckpt"):
            raise InputError(
                f"{source} is a pickle, which can run code and is never opened; ask for a safetensors file"
            )
        pipeline, parts = read_file(Path(source), config=str(config) if config else None, dtype=dtype, offline=offline)
        index: dict[str, Any] = {"_class_name": pipeline}
    else:
        index, parts = read_index(source, offline=offline), {}
    opening = Opening(source, device, dtype, dtypes or {}, quantise, offline, index, parts)
    base: Any = _family(opening, name).load(opening)
    base.distilled, base.patch_encoder = opening.distilled, patch_folder(source)
    if "without guidance" in base.distilled:  # the base's own pipeline runs one pass at any scale of guidance
        base.guidance = "embedded"
    if "bfloat16" in (dtype, *(dtypes or {}).values()):
        base.files = opening.all_files
    elif quantise:
        base.files = {"denoiser": opening.all_files["denoiser"]}
    if name == "pocket":
        base.name = "pocket"
    base.capabilities = capabilities_of(name)
    if faces is not None:
        from .faces import open_faces, with_faces

        base.capabilities = with_faces(base.capabilities, open_faces(faces, device=device))
    if offload:
        base.rest(torch.device("cpu"))
    if tiling:
        base.tile()
    if checkpointing:
        base.checkpoint(True)
        base.checkpointing = True
    opened_base: Base = base
    return opened_base


def comes_with_limner(name: str) -> bool:
    """Whether a base of this name ships with limner: any file may name it, and it needs no memory estimate."""
    return name == "pocket"


def capabilities_of(name: str | Path) -> Capabilities:
    """Capabilities that come with a base beside its generator.

    name: the name that `load` opens the base by
    """
    from limner.core.capabilities import NONE

    if name != "pocket":
        return NONE
    from limner.pocket.capabilities import CAPABILITIES

    gan = POCKET.parent / "gan"
    if not (gan / "encoder.safetensors").is_file():
        return CAPABILITIES
    from limner.bases.gan.encoder import w_plus

    return replace(CAPABILITIES, encoders={**CAPABILITIES.encoders, "w_plus": functools.partial(w_plus, gan)})


def facts_of(name: str | Path) -> Facts:
    """Facts about a base that are known without opening it. Loads no large library.

    name: the name that `load` opens the base by
    """
    from limner.core.capabilities import Facts

    if name != "pocket":
        return Facts()
    from limner.pocket.facts import FACTS

    return FACTS


def checked_device(name: str) -> str:
    """A device's name, checked. Raises `InputError` for a device that torch does not know or this machine lacks."""
    import torch

    try:
        kind, index = torch.device(name).type, torch.device(name).index or 0
    except RuntimeError as error:
        raise InputError(f"the device must be cpu or cuda (cuda:1 is the second), not {name!r}") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise InputError("there is no CUDA device here; use device 'cpu'")
    if kind == "cuda" and index >= torch.cuda.device_count():
        raise InputError(f"there is no device {name!r} here; the last is 'cuda:{torch.cuda.device_count() - 1}'")
    if kind not in ("cpu", "cuda") and not _is_there(kind):
        raise InputError(f"there is no device {name!r} here; use device 'cpu'")
    return name


def _is_there(kind: str) -> bool:
    """Whether torch can compute on this kind of device."""
    import torch

    module = getattr(torch, kind, None) or getattr(torch.backends, kind, None)
    return bool(module is not None and hasattr(module, "is_available") and module.is_available())


def sketch(name: str | Path = "pocket", *, offline: bool | None = None) -> Base:
    """Open a base on torch's meta device, for memory estimates: its weights take no memory and its passes give shapes
    alone.

    name: "pocket", a folder in diffusers' layout, or a hub id; a single file is not supported
    offline: download nothing; None follows the environment variable HF_HUB_OFFLINE
    """
    from .opening import Sketching, read_index

    source = str(POCKET if name == "pocket" else Path(name).expanduser() if Path(name).expanduser().exists() else name)
    offline = _offline() if offline is None else offline
    opening = Sketching(source, "meta", offline=offline, index=read_index(source, offline=offline))
    base: Any = _family(opening, name).load(opening)
    base.stored_bytes = opening.stored_bytes
    base.capabilities = capabilities_of(name)
    base_sketch: Base = base
    return base_sketch


def _family(opening: Opening, name: str | Path) -> ModuleType:
    """The module of a pipeline's family."""
    pipeline = str(opening.index.get("_class_name"))
    family = next((known for known in FAMILIES if pipeline in known.pipelines), None)
    if family is None:
        known = ", ".join(p for f in FAMILIES for p in f.pipelines)
        raise InputError(f"{name} needs the pipeline {pipeline}, which limner does not support; it supports: {known}")
    return importlib.import_module(f"limner.bases.{family.group}.{family.module}")


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "0").lower() in ("1", "true", "yes", "on")


def known_bases() -> list[dict[str, Any]]:
    """The bases that `load` opens: the one that ships with limner, and one row for each family."""
    size = sum(f.stat().st_size for f in POCKET.rglob("*") if f.is_file()) if POCKET.exists() else 0
    about = "trained by limner on its own toy world; knows toys, not photographs"
    pocket = {
        "name": "pocket",
        "family": "stable_diffusion",
        "title": "pocket",
        "picture_size": SIZE,
        "megabytes": round(size / 1e6, 1),
        "about": about,
    }
    rest = [
        {
            "name": "FOLDER, HUB/ID or FILE"
            if known.module in ("stable_diffusion", "sdxl", "sd3", "flux")
            else "FOLDER or HUB/ID",
            "family": known.module,
            "example": EXAMPLES.get(known.module, ""),
            "title": known.title,
            "pipelines": list(known.pipelines),
            "predicts": known.learns,
            "attention": known.attention,
            "words": known.words,
            "about": known.note,
        }
        for known in FAMILIES
    ]
    return [pocket, *rest]
