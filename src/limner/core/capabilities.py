"""The networks and facts that come with a base beside its generator.

Parts, workflows and measuring ask for one of these and never for the name of the base.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

    from .faces import FaceNetworks

PixelEncoder: TypeAlias = "Callable[[Tensor], Tensor]"
"""Pixels [n, 3, H, W] in [0, 1], of any size, to one row for each picture. Gradients pass to the pixels."""


@dataclass(frozen=True)
class Capabilities:
    """Each field's default says that the base has no such thing."""

    encoders: Mapping[str, PixelEncoder] = field(default_factory=dict)
    """By role. "face": unit embeddings [n, D] of a face's identity; "object": the same of a thing's; "landmarks": x and y
    of K landmarks of a face [n, K, 2], as shares of the picture's width and height."""
    faces: FaceNetworks | None = None
    """Networks that find faces in pictures of any size; the roles "face" and "landmarks" are theirs."""


NONE = Capabilities()
