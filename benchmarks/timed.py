"""Run a training script of another project, and note when each of its updates ended: `timed.py OUT.json SCRIPT
ARGUMENTS…`

Its progress bar tells the updates. Where torchvision is missing, the few transforms such scripts use stand in for it.
"""

from __future__ import annotations

import json
import resource
import runpy
import sys
import time
import types
from pathlib import Path
from typing import Any

BEGAN = time.monotonic()


def main() -> None:
    out, script = Path(sys.argv[1]), sys.argv[2]
    sys.argv = sys.argv[2:]
    try:
        import torchvision  # noqa: F401
    except ImportError:
        _stand_in()
    import tqdm.auto
    import tqdm.std

    times: list[float] = []
    cpu: list[float] = []
    update = tqdm.std.tqdm.update

    def noted(self: Any, n: float = 1) -> Any:
        if "Steps" in (self.desc or ""):
            times.append(time.monotonic() - BEGAN)
            cpu.append(time.process_time())
        return update(self, n)

    tqdm.std.tqdm.update = noted  # type: ignore[method-assign]
    runpy.run_path(script, run_name="__main__")
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    wall = {"wall": time.monotonic() - BEGAN, "cpu_wall": time.process_time()}
    out.write_text(json.dumps({"times": times, "cpu": cpu, **wall, "megabytes": rss}))


def _stand_in() -> None:
    """Resize, crop, to tensor and normalise, as scripts for training diffusion models call them."""
    import enum
    import importlib.machinery

    import diffusers  # noqa: F401 - these two look for the real one as they are imported
    import numpy as np
    import torch
    import transformers  # noqa: F401
    from PIL import Image, ImageOps
    from transformers import CLIPTextModel, CLIPTokenizer  # noqa: F401

    class InterpolationMode(enum.Enum):
        BILINEAR = Image.Resampling.BILINEAR
        BICUBIC = Image.Resampling.BICUBIC
        LANCZOS = Image.Resampling.LANCZOS
        NEAREST = Image.Resampling.NEAREST

    def resize(size: int, interpolation: Any = InterpolationMode.BILINEAR) -> Any:
        how = getattr(interpolation, "value", interpolation)

        def apply(image: Any) -> Any:
            share = size / min(image.size)
            return image.resize((round(image.width * share), round(image.height * share)), how)

        return apply

    def crop(size: int) -> Any:
        return lambda image: ImageOps.fit(image, (size, size)) if image.size != (size, size) else image

    def flip(p: float = 0.5) -> Any:
        return lambda image: ImageOps.mirror(image) if torch.rand(()) < p else image

    def to_tensor() -> Any:
        return lambda image: torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255

    def normalize(mean: list[float], std: list[float]) -> Any:
        return lambda x: (x - mean[0]) / std[0]

    def compose(steps: list[Any]) -> Any:
        def apply(image: Any) -> Any:
            for step in steps:
                image = step(image)
            return image

        return apply

    transforms: Any = types.ModuleType("torchvision.transforms")
    transforms.InterpolationMode, transforms.Compose, transforms.Resize = InterpolationMode, compose, resize
    transforms.CenterCrop = transforms.RandomCrop = crop
    transforms.RandomHorizontalFlip, transforms.ToTensor, transforms.Normalize = flip, to_tensor, normalize
    functional: Any = types.ModuleType("torchvision.transforms.functional")
    functional.crop = lambda image, top, left, high, wide: image.crop((left, top, left + wide, top + high))
    transforms.functional = sys.modules["torchvision.transforms.functional"] = functional
    package: Any = types.ModuleType("torchvision")
    package.transforms, package.__version__ = transforms, "0"
    package.__spec__ = importlib.machinery.ModuleSpec("torchvision", None)
    sys.modules["torchvision"], sys.modules["torchvision.transforms"] = package, transforms


if __name__ == "__main__":
    main()
