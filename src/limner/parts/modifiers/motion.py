"""Motion modules: attention between the frames of a clip (AnimateDiff, arXiv:2307.04725)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from limner.core.types import Live

from .control_branch import put_in
from .parameters import prefixed, taken, under

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base


@dataclass(frozen=True)
class motion_modules:
    """Attention over time after each layer of the UNet (Sec. 4.2 of arXiv:2307.04725).

    Its output is zero at first, so that each frame of a clip is sampled as a still. On stills it does not act. Its
    tensors are `motion.…`, named as in diffusers' `MotionAdapter`, and can be selected.

    frames: frames of the longest clip
    folder: folder of a `MotionAdapter` in diffusers' layout to start from; empty starts from scratch
    """

    frames: int = 16
    folder: str = ""

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        from limner.bases.video.motion import motion_of, moved

        network, start, frames = motion_of(base, self.frames, self.folder, generator)
        tensors = taken(prefixed("motion.", start), stored, base, what="the motion modules")
        put_in(network, under("motion.", tensors))
        live = Live(tensors, frames=frames if scale else 1)
        if not scale:
            yield live
            return
        with moved(base, network, live, scale):
            yield live
