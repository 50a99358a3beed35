"""Random streams: one for every purpose, a function of seed, purpose and step alone. Nothing reads a global stream."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator


def stream(seed: int, *purpose: str | int) -> Generator:
    """A CPU generator for a purpose: `stream(7, "noise", step)`. Draw on the CPU, then move: every device draws
    alike."""
    import torch

    digest = hashlib.sha256(repr((seed, *purpose)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def streams(seed: int, *place: str | int) -> Callable[[str], Generator]:
    """The streams of one place in a run (a stage and step): `streams(7, 0, 12)("noise")`."""
    return lambda purpose: stream(seed, purpose, *place)
