"""Partial pictures: the finished picture as the denoiser expects it, decoded while the picture is sampled."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

    from limner.engine.steps import PaintStep

log = logging.getLogger("limner.jobs")
MOST = 3
"""Largest number of partial pictures of one picture, as in OpenAI's API."""


@dataclass(eq=False)
class Partials:
    """The partial pictures that somebody wants of one picture.

    count: their number, from 1 to MOST
    take: gets the number of each, from 0, and the partial picture, in the thread that paints
    sent: number of those sent so far; none is sent again where a batch is painted anew
    """

    count: int
    take: Callable[[int, Image.Image], object]
    sent: int = 0


def partial_steps(first: int, total: int, count: int) -> list[int]:
    """Steps after which a partial picture is decoded: spread evenly over the steps from number `first` on, without the
    last one, whose picture is the finished one. There are fewer than `count` where there are fewer steps.

    >>> partial_steps(0, 20, 3)
    [4, 9, 14]
    >>> partial_steps(0, 2, 3)
    [0]
    """
    steps = total - first
    count = min(count, steps - 1)
    return [first + (k + 1) * steps // (count + 1) - 1 for k in range(count)]


@dataclass
class Watcher:
    """Decodes partial pictures of the rows of a batch, one row at a time, so that painting needs no more memory.

    base: the base that paints
    wanted: the partial pictures wanted of each row, by its number
    finish: what is done to a finished picture as well, such as putting it back into a larger one
    """

    base: Any
    wanted: Mapping[int, Partials]
    finish: Callable[[Image.Image], Image.Image] = lambda image: image
    first: int | None = None  # number of the first step

    def __call__(self, at: PaintStep, rows: Sequence[int]) -> None:
        """Look at a step. rows: the number of each row of its latents."""
        self.first = at.step if self.first is None else self.first
        due = [(place, row) for place, row in enumerate(rows) if row in self.wanted and self._is_due(at, row)]
        if not due:
            return
        try:
            clean = at.clean()
            for place, row in due:
                self._send(row, clean[place : place + 1])
        except Exception:  # the picture itself goes on without its partial pictures
            log.exception("a partial picture could not be made")

    def _is_due(self, at: PaintStep, row: int) -> bool:
        """Whether the row's next partial picture is decoded after this step. All come from a picture's first candidate,
        where it has several."""
        assert self.first is not None
        steps = partial_steps(self.first, at.total, self.wanted[row].count)
        number = self.wanted[row].sent
        return number < len(steps) and at.step == steps[number]

    def _send(self, row: int, clean: Any) -> None:
        from limner.core.pixels import to_images
        from limner.engine.sample import decoded

        (image,), partials = to_images(decoded(self.base, clean)), self.wanted[row]
        partials.sent += 1
        partials.take(partials.sent - 1, self.finish(image))
