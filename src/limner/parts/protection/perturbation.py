"""A small change of each photograph's pixels that is learned within a bound, and the photographs' changed copies."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from limner.core.artefact import Artefact, copy_names
from limner.core.recipe import Source, Stage
from limner.core.types import Batch, Live
from limner.errors import PictureError
from limner.parts.modifiers.parameters import prefixed, taken, under

if TYPE_CHECKING:
    from PIL import Image
    from torch import Generator, Tensor

    from limner.core.adapted import Adapted
    from limner.core.base import Base
    from limner.core.recipe import Objective, Selection
    from limner.core.subject import Reference, Subject
    from limner.core.types import Streams

MOST_LONG = 8
"""Longer side of a photograph by its shorter one, at most."""
PREFIX = "perturbation."
"""Prefix of the tensors' names; the number of the photograph follows."""


@dataclass(frozen=True)
class perturbation:
    """A change of every photograph, at most `epsilon` in each channel of each pixel (an l-infinity ball, as in Sec. 2.1
    of arXiv:1706.06083). It starts at zero.

    Changes [3, h, w] have the size at which the base reads photographs: the shorter side is `base.picture_size`.

    subject: the photographs
    epsilon: largest change, where a channel is from 0 to 255
    """

    subject: Subject
    epsilon: float

    @contextmanager
    def __call__(
        self, base: Base, *, stored: Mapping[str, Tensor], generator: Generator, scale: float
    ) -> Iterator[Live]:
        import torch

        sizes = [_read_size(reference, base.picture_size) for reference in self.subject.pictures]
        start = {str(k): torch.zeros(3, height, width) for k, (width, height) in enumerate(sizes)}
        yield Live(prefixed(PREFIX, taken(start, under(PREFIX, stored), base, what="the perturbation")))

    def stages(
        self,
        loss: Callable[[Source], Sequence[Objective]],
        *,
        steps: int,
        step_size: float,
        decay: Literal["constant", "cosine"] = "constant",
    ) -> tuple[Stage, ...]:
        """A stage for each photograph, in which its change follows the sign of the gradient and is projected back.

        loss: source of one changed photograph -> the terms that its change lowers
        steps: updates of a photograph
        step_size: size of an update, where a channel is from 0 to 255
        decay: course of the step size
        """
        return tuple(
            Stage(
                train=(self.of(k),),
                loss=tuple(loss(self.changed(k))),
                steps=steps,
                lr=step_size / 255,
                decay=decay,
                optimizer="sign",
                after=functools.partial(self.project, k),
            )
            for k in range(len(self.subject.pictures))
        )

    def of(self, photo: int) -> Selection:
        """The change of one photograph alone.

        photo: its number, from 0
        """
        name = f"{PREFIX}{photo}"
        return lambda adapted: {name: adapted.live[self].tensors[name]}

    def changed(self, photo: int) -> Source:
        """Batches of one changed photograph: the mean of its latents, through which the gradient passes.

        Every update reads another square along the longer side, so that no crop of the photograph is left as it was.

        photo: its number, from 0
        """

        def prepare(base: Base) -> Callable[[int, Streams], Batch]:
            import torch

            shape = torch.zeros(1, *base.latent_shape, device=base.device, dtype=base.dtype)
            prompts = (f"a photo of {self.subject.handle}",)

            def draw(step: int, at: Streams) -> Batch:
                # a sixth of the squares lies at each end, whose pixels would else be read the least
                share = float((1.5 * torch.rand(1, generator=at("square")) - 0.25).clamp(0, 1))

                def render(adapted: Adapted) -> Tensor:
                    pixels = self._photos(adapted)[photo] + adapted.live[self].tensors[f"{PREFIX}{photo}"]
                    return adapted.base.encode(_square(pixels, share)[None])[0]

                return Batch(shape, prompts, render=render)

            return draw

        return Source(f"photo {photo}", "subject", prepare)

    def project(self, photo: int, adapted: Adapted) -> None:
        """Put a change back into the ball, and the changed photograph into the range of pixels.

        photo: its number, from 0
        adapted: the base with this modifier
        """
        pixels, change = self._photos(adapted)[photo], adapted.tensors[f"{PREFIX}{photo}"]
        most = self.epsilon / 255
        change.copy_((pixels + change.clamp(-most, most)).clamp(0, 1) - pixels)

    def copies(self, adapted: Adapted) -> list[Artefact]:
        """The changed photographs as PNG, each in the size that it was given in and named after its file. A change is
        enlarged bilinearly where the photograph is larger than the base reads it.

        adapted: the base with this modifier, trained
        """
        changes, names = adapted.tensors, copy_names([reference.name for reference in self.subject.pictures])
        return [
            Artefact.picture(name, _applied(reference, changes[f"{PREFIX}{k}"], math.floor(self.epsilon)))
            for k, (name, reference) in enumerate(zip(names, self.subject.pictures, strict=True))
        ]

    def _photos(self, adapted: Adapted) -> list[Tensor]:
        """The photographs [3, h, w] in [0, 1] as the base reads them."""
        size = adapted.base.picture_size
        if self not in adapted.cache:
            adapted.cache[self] = [_pixels(each, size).to(adapted.base.device) for each in self.subject.pictures]
        photos: list[Tensor] = adapted.cache[self]
        return photos


def _read_size(reference: Reference, size: int) -> tuple[int, int]:
    """Width and height of a photograph whose shorter side is `size` pixels. Raises `PictureError` for one without
    pixels, and for a strip, which would take far more memory than its file."""
    if reference.image is None:
        raise PictureError(f"the pixels of {reference.name} are not in the concept's file; give its pictures again")
    width, height = reference.image.size
    if max(width, height) > MOST_LONG * min(width, height):
        raise PictureError(
            f"{reference.name} is {width} x {height} pixels: photographs are protected whose longer side is at most "
            f"{MOST_LONG} times the shorter; crop it"
        )
    scale = size / min(width, height)
    return max(size, round(width * scale)), max(size, round(height * scale))


def _pixels(reference: Reference, size: int) -> Tensor:
    """[3, h, w] in [0, 1]: a photograph whose shorter side is `size` pixels."""
    import numpy as np
    import torch
    from PIL import Image

    assert reference.image is not None
    small = reference.image.resize(_read_size(reference, size), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1).contiguous().float() / 255


def _square(pixels: Tensor, share: float) -> Tensor:
    """The square [3, s, s] at this share of the way along the longer side of a picture [3, h, w]."""
    size = min(pixels.shape[1:])
    top, left = (round(share * (side - size)) for side in pixels.shape[1:])
    return pixels[:, top : top + size, left : left + size]


def _applied(reference: Reference, change: Tensor, most: int) -> Image.Image:
    """A photograph with its change, which in whole steps is at most `most` of 255."""
    import numpy as np
    import torch.nn.functional as F
    from PIL import Image

    assert reference.image is not None
    width, height = reference.image.size
    whole = F.interpolate(change.float()[None], size=(height, width), mode="bilinear", antialias=True)[0]
    steps = (255 * whole).round().clamp(-most, most).permute(1, 2, 0).cpu().numpy().astype(np.int16)
    return Image.fromarray((np.array(reference.image).astype(np.int16) + steps).clip(0, 255).astype(np.uint8))
