"""Sources restricted to part of the diffusion times, or with more rows in a part of them or towards noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base
    from limner.core.corpus import Corpus
    from limner.core.recipe import Source
    from limner.core.types import Batch, Streams


def at_times(source: Source, first: float, last: float) -> Source:
    """The same source, with times drawn between two shares of the base's.

    Raises `ValueError` unless 0 <= first < last <= 1.

    source: the source
    first: least share of the times, from 0, where pictures are clean
    last: largest share of the times, up to 1, where they are noise
    """
    if not 0 <= first < last <= 1:
        raise ValueError(f"times are between two rising shares from 0 to 1, not {first} and {last}")
    again = source.over

    def over(corpus: Corpus) -> Source:
        assert again is not None
        return at_times(again(corpus), first, last)

    return replace(source, times=(first, last), over=over if again else None)


def mostly_at(source: Source, first: float, last: float, *, evenly: float = 0.3) -> Source:
    """The same source, with most rows' times drawn between two shares of the base's, and the others' from all of them.

    It is the adaptive timestep sampling of AnyDoor (Sec. 3.4 of arXiv:2307.09481), with a range for each kind of data.
    Raises `ValueError` unless 0 <= first < last <= 1.

    source: the source
    first: least share of the times, from 0, where pictures are clean
    last: largest share of the times, up to 1, where they are noise
    evenly: share of rows whose times are drawn from all, from 0 to 1
    """
    if not 0 <= first < last <= 1:
        raise ValueError(f"times are between two rising shares from 0 to 1, not {first} and {last}")

    def prepare(base: Base) -> Callable[[int, Streams], Batch]:
        import torch

        drawing = source.prepare(base)

        def draw(step: int, at: Streams) -> Batch:
            batch = drawing(step, at)
            free = torch.rand(len(batch.latents) // batch.frames, generator=at("range of times")) < evenly
            free = free.repeat_interleave(batch.frames)
            ranges = torch.where(free[:, None], torch.tensor([0.0, 1.0]), torch.tensor([first, last]))
            return replace(batch, times=ranges)

        return draw

    def over(corpus: Corpus) -> Source:
        assert source.over is not None
        return mostly_at(source.over(corpus), first, last, evenly=evenly)

    return replace(source, prepare=prepare, over=over if source.over else None)


def cubic_times(source: Source) -> Source:
    """The same source, with the time of each row 1 - u^3 as a share of the base's and u even: mostly noisy times
    (Sec. 3.3 of arXiv:2404.12333).

    source: the source
    """

    def shares(base: Base, rows: int, at: Streams) -> Tensor:
        import torch

        drawn = 1 - torch.rand(rows, generator=at("cubic times")) ** 3
        return drawn.clamp(max=1 - 1 / base.num_train_times)

    return _with_times(source, shares)


def noisier(source: Source, *, bias: float = 0.5) -> Source:
    """The same source, with times t drawn with the density (1 - bias * cos(pi t / T)) / T, which grows with t.

    It is the importance sampling of ReVersion (Sec. 4.3 of arXiv:2303.13495). T is the number of the base's times.
    Raises `ValueError` unless 0 <= bias <= 1.

    source: the source
    bias: excess of the density at pure noise over that of all times drawn alike, from 0 (none) to 1
    """
    if not 0 <= bias <= 1:
        raise ValueError(f"the bias of the times is from 0 to 1, not {bias}")

    def drawn(base: Base, rows: int, at: Streams) -> Tensor:
        import torch

        shares = torch.linspace(0, 1, 2049, dtype=torch.float64)
        below = shares - bias * torch.sin(torch.pi * shares) / torch.pi  # the distribution function
        uniform = torch.rand(rows, dtype=torch.float64, generator=at("importance of times"))
        upper = torch.searchsorted(below, uniform, right=True).clamp(1, len(below) - 1)
        part = (uniform - below[upper - 1]) / (below[upper] - below[upper - 1])
        return torch.lerp(shares[upper - 1], shares[upper], part)

    return _with_times(source, drawn)


def _with_times(source: Source, shares: Callable[[Base, int, Streams], Tensor]) -> Source:
    """The same source, with the time of each row, or clip, drawn by `shares`: base, number of rows and streams ->
    shares of the base's times, [rows] in [0, 1]."""

    def prepare(base: Base) -> Callable[[int, Streams], Batch]:
        drawing = source.prepare(base)

        def draw(step: int, at: Streams) -> Batch:
            batch = drawing(step, at)
            share = shares(base, len(batch.latents) // batch.frames, at).repeat_interleave(batch.frames)
            return replace(batch, times=share[:, None].expand(-1, 2))

        return draw

    def over(corpus: Corpus) -> Source:
        assert source.over is not None
        return _with_times(source.over(corpus), shares)

    return replace(source, prepare=prepare, over=over if source.over else None)
