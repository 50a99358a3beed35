"""What this installation is made of, and whether it can work."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from typing import Any

NEEDED = ("torch", "diffusers", "transformers", "safetensors", "PIL", "numpy")


def examine() -> list[dict[str, Any]]:
    """One line for each thing looked at: what, what was found, whether it is good."""
    checks = [_check("python", sys.version.split()[0], sys.version_info >= (3, 11))]
    checks += [_library(name) for name in NEEDED]
    checks += [_device(), _weights(), _cache(), _disk()]
    return checks


def _check(what: str, found: str, ok: bool) -> dict[str, Any]:
    return {"what": what, "found": found, "ok": ok}


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
    from .bases.loading import POCKET

    there = (POCKET / "model_index.json").exists()
    return _check("pocket base", str(POCKET) if there else f"missing at {POCKET}; install limner again", there)


def _cache() -> dict[str, Any]:
    from .cache import cache_folder

    folder = cache_folder()
    nearest = next(p for p in (folder, *folder.parents) if p.exists())
    return _check("cache", str(folder), os.access(nearest, os.W_OK))


def _disk() -> dict[str, Any]:
    free = shutil.disk_usage(".").free
    return _check("disk", f"{free / 1e9:.1f} GB free", free > 200_000_000)
