"""What the pocket base can do beside painting: its judges as encoders, for parts that ask a base for them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from limner.core.capabilities import Capabilities

from . import SIZE
from .face_networks import PocketFaces
from .judges import WEIGHTS, network

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.capabilities import PixelEncoder

NETWORKS = {"face": "faces", "object": "identity", "landmarks": "landmarks"}
"""Role of an encoder -> file of its weights."""


def encode(name: str, pixels: Tensor) -> Tensor:
    """[n, 3, H, W] in [0, 1] -> rows of a judge that reads pictures of SIZE, with gradients, on the device of the pixels."""
    import torch.nn.functional as F

    fitted = pixels.float()
    if pixels.shape[-2:] != (SIZE, SIZE):
        fitted = F.interpolate(fitted, (SIZE, SIZE), mode="bicubic", antialias=True).clamp(0, 1)
    found: Tensor = _network_on(name, str(pixels.device))(fitted)
    return found


@functools.cache
def _network_on(name: str, device: str) -> Any:
    """A judge's network there; the one on the CPU is shared with those who measure."""
    import copy

    return network(name) if device == "cpu" else copy.deepcopy(network(name)).to(device)


def _encoders() -> dict[str, PixelEncoder]:
    """Those whose weights this edition ships."""
    there = {role: name for role, name in NETWORKS.items() if (WEIGHTS / f"{name}.safetensors").is_file()}
    return {role: functools.partial(encode, name) for role, name in there.items()}


CAPABILITIES = Capabilities(encoders=_encoders(), faces=PocketFaces(encode))
