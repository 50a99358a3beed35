"""Motion modules, by which the frames of a clip see one another (AnimateDiff, arXiv:2307.04725)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from limner.core.types import Live

from .control_branch import put_in
from .kept import prefixed, taken, under

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.base import Base


@dataclass(frozen=True)
class motion_modules:
    """Attention over time after each layer of the UNet; its output is zero at first, so that a clip is its frames, each
    painted alone (Sec. 4.2 of arXiv:2307.04725). On stills it does not act.

    Its tensors are `motion.…`, as diffusers names those of a `MotionAdapter`, and can be selected.

    frames: of the longest clip
    folder: a `MotionAdapter` in diffusers' layout to begin with; empty: from scratch
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
