"""References stored as latents or features, for sampling alone: the network is not changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from limner.core.types import Live, ReferenceStream
from limner.parts.encoders.latents import encoded
from limner.parts.encoders.looks import looked_at, subject_references

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from limner.core.adapted import Adapted
    from limner.core.base import Base
    from limner.core.subject import Subject
    from limner.parts.encoders.looks import Look

LATENTS, FEATURES = "reference.latents", "reference.features"


@dataclass(frozen=True)
class reference_latents:
    """The latents [1, C, h, w] of the subject's first picture, stored with the concept.

    subject: the subject
    plain: whether the subject is shown on a plain background
    instead: name of a condition that stands for the picture in painting, where it is given; empty for none
    """

    subject: Subject
    plain: bool = False
    instead: str = ""

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        if LATENTS in stored:
            latents = stored[LATENTS].to(base.device, base.dtype)
        else:
            first = replace(self.subject, pictures=self.subject.pictures[:1])
            latents = encoded(base, subject_references(base, first, masks=self.plain), plain=self.plain)[0][0]
        yield Live(tensors={LATENTS: latents}, may_read=frozenset({self.instead} if self.instead and scale else ()))


@dataclass(frozen=True)
class reference_features:
    """Features [1, …] of the subject's pictures, stored with the concept.

    subject: the subject
    look: base and references -> features
    """

    subject: Subject
    look: Look

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        yield Live(tensors={FEATURES: looked_at(base, self.subject, self.look, stored, FEATURES)})


def first_picture(adapted: Adapted) -> Callable[[int], ReferenceStream]:
    """A reference stream that is the first picture of all: of its prompt, from its noise (arXiv:2312.02133)."""
    return lambda steps: ReferenceStream(None, None)


def inverted_reference(
    reference: reference_latents, prompt: str
) -> Callable[[Adapted], Callable[[int], ReferenceStream]]:
    """A reference stream along the sampler's path to the reference: DDIM run backwards (arXiv:2105.05233).

    reference: the part that stores the reference's latents
    prompt: prompt of the inversion and of the reference stream
    """

    def reference_stream(adapted: Adapted) -> Callable[[int], ReferenceStream]:
        def walk(steps: int) -> ReferenceStream:
            from limner.engine.sample import inverted

            with adapted.suspended():  # by the base alone
                way = inverted(adapted.base, adapted.live[reference].tensors[LATENTS], prompt, steps)
            return ReferenceStream(prompt, lambda step: way[step])

        return walk

    return reference_stream
