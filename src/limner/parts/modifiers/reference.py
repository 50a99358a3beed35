"""A reference picture kept as latents: no change of the network, only something to look at while painting."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from limner.recipe import Companion, Live

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.bases.protocol import Base
    from limner.subject import Subject
    from limner.wearing import Worn

LATENTS = "reference.latents"


@dataclass(frozen=True)
class reference_latents:
    """The latents [1, C, h, w] of the subject's first picture, stored with the concept."""

    subject: Subject

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        import torch

        if LATENTS in stored:
            latents = stored[LATENTS].to(base.device, base.dtype)
        else:
            with torch.no_grad():
                latents = base.encode(self.subject.tensor(base.picture_size)[:1])[0]
        yield Live(tensors={LATENTS: latents})


def inverted_reference(reference: reference_latents, prompt: str) -> Callable[[Worn], Callable[[int], Companion]]:
    """A companion that walks the way the sampler would have come to the reference: DDIM run backwards (arXiv:2105.05233)."""

    def companion(worn: Worn) -> Callable[[int], Companion]:
        def walk(steps: int) -> Companion:
            from limner.painting import inverted

            way = inverted(worn.base, worn.live[reference].tensors[LATENTS], prompt, steps)
            return Companion(prompt, lambda step: way[step])

        return walk

    return companion
