"""Conditions computed from pictures: edges by filters, depth by a network opened from a folder, others by networks of
the base."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from limner.core.wording import listed
from limner.errors import FileError, InputError

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.capabilities import Estimator

LOW, HIGH = 0.1, 0.2
"""Thresholds of the gradient, as shares of the largest possible: of a possible edge, and of a certain edge."""
ROUNDS = 64
"""Largest distance of a possible edge from a certain one, in pixels."""


def edges(pixels: Tensor, *, low: float = LOW, high: float = HIGH) -> Tensor:
    """[n, 1, H, W]: 1 at edges and 0 elsewhere (Canny, IEEE TPAMI 8(6), 1986).

    The picture is smoothed; Sobel's gradients are kept where they are the largest across the edge; those between the
    thresholds count only where they connect to one above the higher threshold.

    pixels: [n, 3, H, W] in [0, 1]
    low: gradient from which on a pixel is a possible edge, as a share of the largest possible
    high: gradient from which on a pixel is a certain edge, as a share of the largest possible
    """
    import torch.nn.functional as F

    across, down = _gradient(pixels)
    size = (across**2 + down**2).sqrt()
    thin = size * _is_ridge(size, across, down)
    weak, strong = thin >= low, (thin >= high).float()
    for _ in range(ROUNDS):
        strong = F.max_pool2d(strong, 3, 1, 1) * weak
    return strong


def soft_edges(pixels: Tensor) -> Tensor:
    """[n, 1, H, W] in [0, 1]: the size of the smoothed picture's gradient, 1 at the strongest edge of each picture.

    pixels: [n, 3, H, W] in [0, 1]
    """
    across, down = _gradient(pixels)
    size = (across**2 + down**2).sqrt()
    return size / size.amax((2, 3), keepdim=True).clamp_min(1e-6)


def _gradient(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """[n, 1, H, W] twice: Sobel's gradient of the smoothed grey picture, across and down."""
    import torch
    import torch.nn.functional as F

    grey = pixels.float().mean(1, keepdim=True)
    line = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], device=grey.device) / 16
    smooth = F.conv2d(F.pad(grey, (2, 2, 2, 2), mode="replicate"), torch.outer(line, line)[None, None])
    sobel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], device=grey.device) / 4
    kernels = torch.stack([sobel, sobel.T])[:, None]
    across, down = F.conv2d(F.pad(smooth, (1, 1, 1, 1), mode="replicate"), kernels).split(1, 1)
    return across, down


def _is_ridge(size: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """[n, 1, H, W] bool: at least as large as both neighbours in the direction of the gradient, one of eight."""
    import torch
    import torch.nn.functional as F

    near = F.pad(size, (1, 1, 1, 1))
    high, wide = size.shape[2:]
    octant = (torch.atan2(down, across) / (torch.pi / 4)).round().long() % 4
    ridge = torch.zeros_like(size, dtype=torch.bool)
    for k, (x, y) in enumerate(((1, 0), (1, 1), (0, 1), (-1, 1))):
        ahead = near[..., 1 + y : 1 + y + high, 1 + x : 1 + x + wide]
        behind = near[..., 1 - y : 1 - y + high, 1 - x : 1 - x + wide]
        ridge |= (octant == k) & (size >= ahead) & (size > behind)
    return ridge


def depth(pixels: Tensor, folder: Path | str) -> Tensor:
    """[n, 1, H, W] in [0, 1]: inverse depth of each picture, 1 at its nearest point.

    A network of transformers estimates it, such as Depth Anything or DPT. Raises `FileError` for a folder that holds
    none.

    pixels: [n, 3, H, W] in [0, 1]
    folder: folder of the network
    """
    import torch
    import torch.nn.functional as F

    network, processor = _depth_network(folder)
    images = [(255 * picture).round().byte().cpu() for picture in pixels]
    with torch.no_grad():
        inverse_depth = network(**processor(images=images, return_tensors="pt")).predicted_depth[:, None]
    inverse_depth = F.interpolate(inverse_depth.float(), pixels.shape[2:], mode="bicubic", antialias=True)
    low, high = inverse_depth.amin((1, 2, 3), keepdim=True), inverse_depth.amax((1, 2, 3), keepdim=True)
    return (inverse_depth - low) / (high - low).clamp_min(1e-12)


def _depth_network(folder: Path | str) -> tuple[Any, Any]:
    from transformers import AutoImageProcessor, AutoModelForDepthEstimation

    if not Path(folder).expanduser().is_dir():
        raise FileError(f"there is no folder {folder}: expected a model for depth estimation, such as Depth Anything's")
    try:
        place = str(Path(folder).expanduser())
        return AutoModelForDepthEstimation.from_pretrained(place).eval(), AutoImageProcessor.from_pretrained(place)
    except (OSError, ValueError, ImportError) as error:
        raise FileError(
            f"{folder} is no model for depth estimation: {str(error).strip().splitlines()[0][:300]}"
        ) from error


def computed(
    name: str,
    pixels: Tensor,
    folders: Mapping[str, str] = MappingProxyType({}),
    estimators: Mapping[str, Estimator] = MappingProxyType({}),
) -> Tensor:
    """[n, 1 or 3, H, W] in [0, 1]: a condition of pictures, by its name.

    Raises `InputError` for a name that cannot be computed, with the option that supplies it.

    name: "edges"; "lines", which are soft edges; "source", the pictures themselves; "depth"; or one that the base
        estimates
    pixels: [n, 3, H, W] in [0, 1]
    folders: name of a condition -> folder of the network that estimates it, for "depth"; it replaces the base's own
    estimators: name of a condition -> network of the base (`Capabilities.estimators`)
    """
    if name == "edges":
        return edges(pixels)
    if name == "lines":
        return soft_edges(pixels)
    if name == "source":
        return pixels
    if name == "depth" and name in folders:
        return depth(pixels, folders[name])
    if name in estimators:
        return estimators[name](pixels)
    if name == "depth":
        raise InputError(
            "depth is computed by a network: open one with --estimator depth=FOLDER (a model of transformers for depth "
            "estimation, "
            "such as Depth Anything), or give a picture of it with --condition depth=FILE"
        )
    raise InputError(
        f"limner computes {listed(['edges', 'lines', 'source', *dict.fromkeys(('depth', *estimators))])} of a picture, not "
        f"{name!r}: give a picture of it with --condition {name}=FILE"
    )
