"""Where subjects are to stand, as one more input channel of the denoiser (Subject-Diffusion, arXiv:2307.11410)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from limner.core.types import Live
from limner.parts.encoders.looks import shown_rows
from limner.parts.modifiers.further_channels import first_layer, read_by
from limner.parts.modifiers.parameters import taken

from .grounded_states import touched
from .grounding import acting, boxes_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Generator, Tensor

    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.core.types import Pass


@dataclass(frozen=True)
class box_channel:
    """A channel beside the latents that is 0 inside of all subjects' boxes and 1 elsewhere (train.py of the authors of
    arXiv:2307.11410).

    Its kernel in the layer that reads the latents is zero at first. The channel is 0 everywhere in rows that show no
    subject and where no box is known. Concepts with one name act together, as one channel.

    subject: the subject whose region is its box in sampling
    drop: probability in a row of training that the channel is 0 everywhere, from 0 to 1
    name: name of its tensor
    """

    subject: Subject
    drop: float = 0.1
    name: str = "box_channel"

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        import torch

        layer = first_layer(base)
        start = {f"{self.name}.kernel": torch.zeros_like(layer.weight[:, :1], device="cpu")}
        live = Live(taken(start, stored, base, what="the channel of boxes"))
        offer = f"{self.name}.boxes"
        if not scale:
            yield live
            return
        live.offers[offer] = self._boxes
        handle = layer.register_forward_hook(_hook(live, offer, f"{self.name}.kernel", scale))
        try:
            yield live
        finally:
            handle.remove()

    def _boxes(self, run: Pass, rows: int) -> list[Tensor]:
        """The boxes [rows, 4] of each subject of this concept, NaN where the channel does not show it."""
        import torch

        count = 1 if run.references is None else 1 + len(run.references.beside)
        hidden = ~shown_rows(run, rows)
        if run.references is not None and run.random is not None:
            hidden = hidden.cpu() | (torch.rand(rows, generator=run.random("channel of boxes")) < self.drop)
        boxes = [boxes_of(run, self.subject.handle, rows, place=place).cpu() for place in range(count)]
        return [torch.where(hidden.cpu()[:, None], torch.nan, own) for own in boxes]


def _hook(live: Live, offer: str, name: str, scale: float) -> Callable[[Any, Any, Tensor], Tensor | None]:
    def hook(layer: Any, given: Any, out: Tensor) -> Tensor | None:
        run = live.run
        if run is None or not live.on or acting(run, offer)[0] is not live:
            return None
        boxes = [own for other in acting(run, offer) for own in other.offers[offer](run, len(out))]
        channel = outside_of(boxes, out.shape[-2], out.shape[-1]).to(out)
        return out + scale * read_by(layer, channel, live.tensors[name])

    return hook


def outside_of(boxes: list[Tensor], height: int, width: int) -> Tensor:
    """[rows, 1, height, width]: 0 inside of the boxes and 1 elsewhere; 0 everywhere in rows without a box.

    boxes: [rows, 4] of each subject, as shares; NaN where there is none
    height: rows of positions
    width: columns of positions, equal to height
    """
    import torch

    known = torch.stack([~own.isnan().any(1) for own in boxes])  # [subjects, rows]
    inside = [touched(own, width)[:, 0, :, 0].unflatten(1, (height, width)) for own in boxes]
    union = torch.stack([part & here[:, None, None] for part, here in zip(inside, known, strict=True)]).any(0)
    return ((~union) & known.any(0)[:, None, None]).float()[:, None]
