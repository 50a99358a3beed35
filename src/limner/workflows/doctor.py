"""Examination of the installation: the parts it consists of, and whether they work."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import sys
from typing import Any

EXTRAS = {
    "heic": (("pillow_heif",), "photographs in HEIC, as telephones save them"),
    "datasets": (("datasets",), "data sets of Hugging Face as a corpus"),
    "tensorboard": (("tensorboard",), "`limner pretrain --track tensorboard`"),
    "wandb": (("wandb",), "`limner pretrain --track wandb`"),
    "ray": (("ray",), "`limner bench --on ray`, over a cluster"),
    "studio": (("fastapi", "uvicorn", "sqlalchemy", "alembic", "fsspec"), "`limner studio` and `limner worker`"),
    "postgres": (("psycopg",), "the studio's database in PostgreSQL"),
    "s3": (("s3fs",), "the studio's files in S3"),
    "torchao": (("torchao",), "--quantise int8"),
    "bitsandbytes": (("bitsandbytes",), "--quantise nf4"),
    "facenet": (("facenet_pytorch",), "faces in photographs, by MTCNN and FaceNet"),
    "insightface": (("insightface", "onnxruntime"), "faces in photographs, by InsightFace"),
    "provenance": (("c2pa",), "signed provenance in painted pictures"),
    "pretrain": (("tokenizers", "scipy"), "training the pocket base from scratch"),
}
"""Optional extras of limner: the modules of each, and its use."""
LONE_EXTRAS = {
    "rembg": (("rembg",), "`limner learn --segment rembg`"),
    "image-reward": (("ImageReward",), "scores of ImageReward"),
}
"""Optional libraries that are no extra of limner, by their names for pip."""
NEEDED = ("torch", "diffusers", "transformers", "safetensors", "PIL", "numpy")


def examine() -> list[dict[str, Any]]:
    """One row for each check: its name, the finding, and whether that is good."""
    checks = [_check("python", sys.version.split()[0], sys.version_info >= (3, 11))]
    checks += [_library(name) for name in NEEDED]
    checks += [_device(), _weights(), _cache(), _disk()]
    checks += [_extra(f"limner[{name}]", *about) for name, about in EXTRAS.items()]
    checks += [_extra(name, *about) for name, about in LONE_EXTRAS.items()]
    return checks


def _extra(name: str, modules: tuple[str, ...], use: str) -> dict[str, Any]:
    """An optional extra; a missing one is no fault."""
    there = all(importlib.util.find_spec(module) is not None for module in modules)
    install = f"pip install '{name}'" if "[" in name else f"pip install {name}"
    finding = "installed" if there else f"not installed; for {use}: {install}"
    return _check(name, finding, True) | {"optional": True, "installed": there}


def _check(what: str, finding: str, ok: bool) -> dict[str, Any]:
    return {"what": what, "found": finding, "ok": ok}


def _library(name: str) -> dict[str, Any]:
    try:
        return _check(name, str(getattr(importlib.import_module(name), "__version__", "?")), True)
    except ImportError as error:
        return _check(name, f"cannot be imported ({error}); run `pip install limner` again", False)


def _device() -> dict[str, Any]:
    import torch

    if torch.cuda.is_available():
        return _check("device", torch.cuda.get_device_name(), True)
    return _check("device", f"CPU, {torch.get_num_threads()} threads", True)


def _weights() -> dict[str, Any]:
    from limner.bases.common.loading import POCKET

    there = (POCKET / "model_index.json").exists()
    return _check("pocket base", str(POCKET) if there else f"missing at {POCKET}; install limner again", there)


def _cache() -> dict[str, Any]:
    from limner.core.cache import check_cache
    from limner.errors import FileError

    try:
        return _check("cache", str(check_cache()), True)
    except FileError as error:
        return _check("cache", str(error), False)


def _disk() -> dict[str, Any]:
    free = shutil.disk_usage(".").free
    return _check("disk", f"{free / 1e9:.1f} GB free", free > 200_000_000)


def clocked() -> list[dict[str, Any]]:
    """The time of each part of the work on this machine, on the pocket base, in seconds."""
    import time

    import torch

    from limner.bases.common.loading import load
    from limner.core.subject import Subject
    from limner.core.types import Pass
    from limner.engine.attach import Adapter
    from limner.engine.train import train
    from limner.methods import find

    times: list[dict[str, Any]] = []

    def timed(what: str, work: Any, *, often: int = 1) -> Any:
        began = time.monotonic()
        for _ in range(often):
            value = work()
        times.append({"what": what, "seconds": (time.monotonic() - began) / often})
        return value

    base = timed("load the base", lambda: load("pocket"))
    size = base.picture_size
    pixels = torch.rand(4, 3, size, size)
    with torch.no_grad():
        timed("encode 4 pictures", lambda: base.encode(pixels))
        states = timed("read 4 prompts", lambda: base.text_states(["a red dog"] * 4, words={}))
    picture = [torch.rand(3, size, size, generator=torch.Generator().manual_seed(k)) for k in range(2)]
    subject = Subject.of(picture, noun="dog", handle="rex")
    recipe = find("lora_dreambooth")(subject, prior_weight=0.0, steps=8, batch=4)
    updates = train(base, Adapter(recipe, subject.handle), stages=recipe.tuning)
    next(updates)
    timed("train: one update of 4", lambda: next(updates), often=4)
    updates.close()
    latents, time_ = torch.randn(4, *base.latent_shape, device=base.device), torch.full((4,), 500, device=base.device)
    with torch.no_grad():
        timed("paint: one step of 4", lambda: base.predict(latents, time_, states, context=Pass()), often=4)
        timed("decode 4 pictures", lambda: base.decode(latents))
        for kind in (torch.float32, torch.bfloat16):
            matrix = torch.randn(512, 512, device=base.device).to(kind)
            # the first product prepares the library
            matrix @ matrix
            timed(f"multiply matrices in {str(kind).removeprefix('torch.')}", lambda m=matrix: m @ m, often=20)
    return times


def advice(times: list[dict[str, Any]]) -> list[str]:
    """Suggestions to make the work faster on this machine."""
    import torch

    cores, threads, each = os.cpu_count() or 1, torch.get_num_threads(), {t["what"]: t["seconds"] for t in times}
    suggestions = []
    if not torch.cuda.is_available():
        suggestions.append("a GPU: everything but loading is arithmetic")
    if threads < cores:
        suggestions.append(f"more threads: torch uses {threads} of {cores} cores (OMP_NUM_THREADS)")
    if each["train: one update of 4"] > 0.05:
        suggestions.append(
            "several subjects: `limner learn FOLDERS --together` learns them in one pass, --mixed in bfloat16"
        )
    slower = each["multiply matrices in bfloat16"] / each["multiply matrices in float32"]
    if slower > 1.2:
        suggestions.append(
            f"single precision (leave out --mixed and --dtype): bfloat16 takes {slower:.1f} times as long here"
        )
    if each["load the base"] > 4 * each["train: one update of 4"]:
        suggestions.append(
            "fewer processes: loading takes as long as several updates; keep one process and call limner from Python"
        )
    return suggestions
