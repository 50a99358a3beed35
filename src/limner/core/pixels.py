"""Conversion of PIL pictures to tensors and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor


def to_images(pixels: Tensor) -> list[Image.Image]:
    """[B, 3, H, W] in [0, 1] -> PIL pictures."""
    from PIL import Image

    array = (pixels.detach().float().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(row) for row in array]


def to_tensor(images: Sequence[Image.Image], size: int) -> Tensor:
    """Pictures -> [N, 3, size, size] in [0, 1]: the middle square of each, resampled by Lanczos."""
    import numpy as np
    import torch
    from PIL import Image, ImageOps

    small = [np.array(ImageOps.fit(i.convert("RGB"), (size, size), Image.Resampling.LANCZOS)) for i in images]
    return torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).contiguous().float() / 255
