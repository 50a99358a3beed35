"""Sources restricted to part of the diffusion times, or with times that are drawn in another way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from limner.errors import InputError

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

    def shares(base: Base) -> Callable[[int, Streams], Tensor]:
        import torch

        latest = 1 - 1 / base.num_train_times
        return lambda rows, at: (1 - torch.rand(rows, generator=at("cubic times")) ** 3).clamp(max=latest)

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

    def shares(base: Base) -> Callable[[int, Streams], Tensor]:
        import torch

        grid = torch.linspace(0, 1, 2049, dtype=torch.float64)
        below = grid - bias * torch.sin(torch.pi * grid) / torch.pi  # the distribution function

        def drawn(rows: int, at: Streams) -> Tensor:
            uniform = torch.rand(rows, dtype=torch.float64, generator=at("importance of times"))
            upper = torch.searchsorted(below, uniform, right=True).clamp(1, len(below) - 1)
            part = (uniform - below[upper - 1]) / (below[upper] - below[upper - 1])
            return torch.lerp(grid[upper - 1], grid[upper], part)

        return drawn

    return _with_times(source, shares)


def at_log_snr(source: Source, mean: float, deviation: float) -> Source:
    """The same source, with times whose log signal-to-noise ratio is drawn from a normal distribution.

    The ratio is that of powers, log (alpha_t^2 / sigma_t^2) (Style-Friendly SNR sampler, arXiv:2411.14793). Mean 0 and
    deviation 2 are the logit-normal times of Stable Diffusion 3 (Sec. 3.1 of arXiv:2403.03206). Raises `InputError`,
    when training begins, on a base that does not denoise.

    source: the source
    mean: mean of the log ratio; below 0, pictures are mostly noise
    deviation: standard deviation of the log ratio, above 0
    """
    if deviation <= 0:
        raise InputError(f"the standard deviation of log-SNR must be above 0, not {deviation:g}")

    def shares(base: Base) -> Callable[[int, Streams], Tensor]:
        import torch

        shares_of = times_of_log_snr(base)
        return lambda rows, at: shares_of(mean + deviation * torch.randn(rows, generator=at("log-SNR")))

    return _with_times(source, shares)


def _with_times(source: Source, shares: Callable[[Base], Callable[[int, Streams], Tensor]]) -> Source:
    """The same source, with the time of each row, or clip, drawn by `shares`: base -> (number of rows, streams) ->
    shares of the base's times, [rows] in [0, 1]."""

    def prepare(base: Base) -> Callable[[int, Streams], Batch]:
        drawing, drawn = source.prepare(base), shares(base)

        def draw(step: int, at: Streams) -> Batch:
            batch = drawing(step, at)
            share = drawn(len(batch.latents) // batch.frames, at).repeat_interleave(batch.frames)
            return replace(batch, times=share[:, None].expand(-1, 2))

        return draw

    def over(corpus: Corpus) -> Source:
        assert source.over is not None
        return _with_times(source.over(corpus), shares)

    return replace(source, prepare=prepare, over=over if source.over else None)


def times_of_log_snr(base: Base) -> Callable[[Tensor], Tensor]:
    """Log signal-to-noise ratios [n] -> times [n], as shares of the base's.

    On a flow, t = 1 / (1 + exp(ratio / 2)). In diffusion, t is the time whose ratio is nearest, which is an end for
    ratios beyond it; a last time of noise alone, whose ratio is infinite, is never nearest. The share points to the
    middle of the time. Raises `InputError` on a base that does not denoise.

    base: the base
    """
    import torch

    if base.predicts not in ("noise", "velocity", "flow"):
        raise InputError(
            f"{base.name} predicts {base.predicts}, which have no signal-to-noise ratio: use a base that denoises"
        )
    if base.predicts == "flow":
        return lambda ratios: torch.sigmoid(-ratios.double() / 2)
    count = base.num_train_times
    times = torch.arange(count, device=base.device)
    one = torch.ones(count, 1, 1, 1, device=base.device)
    signal, noise = base.noised(one, 0 * one, times), base.noised(0 * one, one, times)
    table = 2 * (signal.double().flatten().log() - noise.double().flatten().log()).cpu()  # [count]
    return lambda ratios: ((ratios.double()[:, None] - table).abs().argmin(1) + 0.5) / count
