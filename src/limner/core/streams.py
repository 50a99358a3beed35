"""Random streams: one for each purpose, a function of seed, purpose and step alone. No global generator is used."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator


def stream(seed: int, *purpose: str | int) -> Generator:
    """A CPU generator for a purpose: `stream(7, "noise", step)`. Values are drawn on the CPU and then moved, so that
    they are equal on every device."""
    import torch

    digest = hashlib.sha256(repr((seed, *purpose)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def streams(seed: int, *place: str | int) -> Callable[[str], Generator]:
    """The streams of one place in a run (a stage and step): `streams(7, 0, 12)("noise")`."""
    return lambda purpose: stream(seed, purpose, *place)
