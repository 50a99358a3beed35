"""Conditions computed from pictures: edges by filters, depth, segmentation and pose by networks opened from a folder,
and others by networks of the base."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from limner.core.wording import listed
from limner.errors import InputError

from .estimators import ESTIMATORS, EXAMPLES, LAYOUT

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


def computed(
    name: str,
    pixels: Tensor,
    folders: Mapping[str, str] = MappingProxyType({}),
    estimators: Mapping[str, Estimator] = MappingProxyType({}),
    nouns: Sequence[str] = (),
) -> Tensor:
    """[n, 1 or 3, H, W] in [0, 1]: a condition of pictures, by its name.

    Raises `InputError` for a name that cannot be computed, with the option that supplies it.

    name: "edges"; "lines", which are soft edges; "source", the pictures themselves; "depth", "segmentation" or "pose",
        by a network; or one that the base estimates
    pixels: [n, 3, H, W] in [0, 1]
    folders: name of a condition -> folder or hub id of the network that estimates it, for those of
        `estimators.ESTIMATORS`; it replaces the base's own
    estimators: name of a condition -> network of the base (`Capabilities.estimators`)
    nouns: class nouns of the subjects, for segmentation by a network from a folder
    """
    if strange := [one for one in folders if one not in (*ESTIMATORS, LAYOUT)]:
        raise InputError(
            f"limner opens no network for {strange[0]!r}: --estimator takes {listed((*ESTIMATORS, LAYOUT))}; edges and lines are "
            "computed by filters"
        )
    if name in FILTERS:
        return FILTERS[name](pixels)
    if name in folders:
        return ESTIMATORS[name](pixels, folders[name], nouns)
    if name in estimators:
        return estimators[name](pixels)
    if name in ESTIMATORS:
        raise InputError(
            f"{name} is computed by a network: open one with --estimator {name}=FOLDER ({EXAMPLES[name]}), or give a "
            f"picture of it with --condition {name}=FILE"
        )
    raise InputError(
        f"limner computes {listed(dict.fromkeys((*FILTERS, *ESTIMATORS, *estimators)), 10)} of a picture, not {name!r}: "
        f"give a picture of it with --condition {name}=FILE"
    )


FILTERS: dict[str, Callable[[Tensor], Tensor]] = {"edges": edges, "lines": soft_edges, "source": lambda pixels: pixels}
"""Condition -> its function of the picture, without a network."""
