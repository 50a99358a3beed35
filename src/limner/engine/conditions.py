"""Extra conditions of sampling: pictures as tensors, checked against the conditions that base and adapters read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from limner.errors import InputError, UnknownName

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from limner.core.adapted import Adapted
    from limner.core.base import Base

Condition: TypeAlias = "Image.Image | Tensor | Sequence[Image.Image]"
"""One picture for all prompts, one for each prompt, or a tensor [1 or n, 1 or 3, H, W] in [0, 1]."""


def tensor_of(name: str, given: Condition, size: int) -> Tensor:
    """[n, 1 or 3, size, size] in [0, 1]. Square pictures of another size are resized; a tensor is returned unchanged.
    Raises `InputError` for anything but pictures, for one that is not square, and for a mixture of grey and coloured
    pictures."""
    import torch
    from PIL import Image

    if isinstance(given, torch.Tensor):
        return given[None] if given.ndim == 3 else given
    images: list[Any] = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    others = [type(image).__name__ for image in images if not isinstance(image, Image.Image)]
    if others:
        raise InputError(
            f"the condition {name!r} is a {others[0]}: expected a picture of PIL, one for each prompt, or a tensor "
            f"[1 or n, 1 or 3, {size}, {size}] in [0, 1]"
        )
    if not images:
        raise InputError(f"the condition {name!r} has no picture: expected one, or one for each prompt")
    parts = [_pixels(name, image, size) for image in images]
    if len({len(part) for part in parts}) > 1:
        raise InputError(f"some pictures of the condition {name!r} are grey and some coloured: give one kind")
    return torch.stack(parts)


def _pixels(name: str, image: Image.Image, size: int) -> Tensor:
    """[1 or 3, size, size]"""
    import numpy as np
    import torch
    from PIL import Image

    if image.width != image.height:
        raise InputError(
            f"the condition {name!r} is {image.width}x{image.height} pixels, and the base paints squares of {size}: "
            f"crop it to a "
            "square with the content of the picture to paint"
        )
    deep = image.mode.startswith("I") or image.mode == "F"  # 16 bits, as depth is often stored
    plain = image if deep else image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
    values = np.asarray(plain, dtype=np.float32) / (65535 if deep and image.mode != "F" else 1 if deep else 255)
    planes = [values] if values.ndim == 2 else [values[..., k] for k in range(3)]
    how = Image.Resampling.NEAREST if name == "mask" else Image.Resampling.BICUBIC
    fitted = [
        plane if plane.shape == (size, size) else np.asarray(Image.fromarray(plane).resize((size, size), how))
        for plane in planes
    ]
    return torch.from_numpy(np.stack(fitted)).clamp(0, 1)


def checked(adapted: Adapted, conditions: Mapping[str, Tensor], rows: int) -> dict[str, Tensor]:
    """The conditions [rows, 1 or 3, H, W] on the base's device. Raises `InputError` for a condition that nothing reads,
    for a missing one, and for tensors of a wrong shape or with values outside of [0, 1]."""
    base, own = adapted.base, adapted.painting_reads
    reads = own | adapted.may_read | set(base.conditions)
    for name in conditions:
        if not reads:
            raise InputError(
                f"nothing reads the condition {name!r} on {base.name}: attach a control branch for it (--control "
                f"{name}=FOLDER, a "
                "ControlNet or T2I-Adapter), or open a base that was made for it"
            )
        if name not in reads:
            raise UnknownName("condition", name, reads)
    needed = own | (set(base.conditions) if conditions.keys() & set(base.conditions) else set())
    missing = sorted(needed - conditions.keys())
    if missing:
        others = f"beside {', '.join(sorted(conditions))}" if conditions else "with every prompt"
        raise InputError(
            f"the condition {missing[0]!r} is read {others} and was not given: give conditions={{{missing[0]!r}: "
            f"picture}} "
            f"(--condition {missing[0]}=FILE)"
        )
    return {name: _spread(name, tensor, base, rows) for name, tensor in conditions.items()}


def _spread(name: str, condition: Tensor, base: Base, rows: int) -> Tensor:
    """The condition with one row for each picture."""
    size = base.picture_size
    shape = tuple(condition.shape)
    if len(shape) != 4 or shape[0] not in (1, rows) or shape[1] not in (1, 3) or shape[2:] != (size, size):
        raise InputError(
            f"the condition {name!r} has shape {shape}; {base.name} reads [1 or {rows}, 1 or 3, {size}, {size}] for "
            f"{rows} rows"
        )
    if not bool(((condition >= 0) & (condition <= 1)).all()):
        raise InputError(
            f"values of the condition {name!r} must be numbers from 0 to 1, and are from {float(condition.min()):g} to "
            f"{float(condition.max()):g}"
        )
    return condition.expand(rows, -1, -1, -1).to(base.device, base.dtype)
