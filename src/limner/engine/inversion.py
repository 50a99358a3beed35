"""Inversion: the way of latents from a clean picture back to noise, along the times of a sampler."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from limner.core.base import Base

Predict: TypeAlias = "Callable[[Tensor, Tensor], Tensor]"
"""Noised latents [n, C, h, w] and their times [n] -> the base's prediction [n, C, h, w] for a prompt."""

ROUNDS = 10
"""Number of iterations for the first step's noise in `inverted_along`. Sampling from the inverted latents of two
pictures, in ten steps on the pocket base, has an error of 4 and 10 % of the pictures' power; with three iterations it
is 5 and 12 %, and without that noise 22 and 41 %."""

TOLERANCE = 1e-5, 2e-5
"""Mean squared error at which the optimisation of a step ends in `null_text_inverted`: at the first step, and its
growth per step where there are 50 (null_text_w_ptp.ipynb of google/prompt-to-prompt)."""

SOLVED = 1e-6
"""Error at which the iteration of a step ends in `solved_along`: norm of the difference between the step's result and
the latents that it should lead to, as a share of their norm. Where the latents' type is coarser, four times its
precision."""

ITERATIONS = 40
"""Largest number of predictions for a step in `solved_along`. Most steps need 4 to 16; the last, whose result no noise
is left in, often uses them all."""

MEMORY = 8
"""Number of earlier iterates that a step of Anderson's acceleration combines."""

UNSOLVED = 0.05
"""Error of a step after all iterations from which on `solved_along` warns."""


def inverted_along(base: Base, predict: Predict, clean: Tensor, times: Tensor, *, order: int = 1) -> list[Tensor]:
    """Latents [n, C, h, w] before each step and after the last: noisiest first, the clean ones at the end.

    With order 1, each step backwards is Eq. 13 of arXiv:2105.05233 without text (DDIM, or Euler along a flow), with the
    prediction of the step before. With order 2, it is a multistep update of DPM-Solver++ (2M, Algorithm 2 of
    arXiv:2211.01095) towards more noise, from the two predictions before. The first step has no step before it: its
    noise is the fixed point at which the prediction equals it, by iteration (arXiv:2309.04907).

    base: the base
    predict: its prediction, without guidance
    clean: latents [n, C, h, w]
    times: [steps], noisiest first
    order: 1 or 2
    """
    rising = [times[k].to(base.device).expand(len(clean)) for k in reversed(range(len(times)))]
    with torch.no_grad():
        noise = torch.zeros_like(clean)
        for _ in range(ROUNDS):
            now = base.noised(clean, noise, rising[0])
            noise = base.noise_of(now, predict(now, rising[0]), rising[0])
        way, estimate, before, last = [clean], clean, clean, 0.0
        for k, at in enumerate(rising):
            if k and order > 1:
                now, last = _second_order(base, way[-1], estimate, before, rising[k - 1], at, last)
            else:
                now = base.noised(estimate, noise, at)
            way.append(now)
            output = predict(now, at)
            before, estimate = estimate, base.x0(now, output, at)
            noise = base.noise_of(now, output, at)
    return way[::-1]


def _second_order(
    base: Base, now: Tensor, estimate: Tensor, before: Tensor, at: Tensor, to: Tensor, last: float
) -> tuple[Tensor, float]:
    """The latents at a noisier time, and the step's length in lambda = log(signal / noise).

    base: the base
    now: latents at `at`
    estimate: the clean latents that the prediction at `at` implies
    before: those of the step before it
    at: time of the latents
    to: the noisier time
    last: length of the step before; 0 for none
    """
    signal, sigma = _levels(base, to)
    signal_now, sigma_now = _levels(base, at)
    length = float((torch.log(signal.clamp_min(1e-4) / sigma) - torch.log(signal_now / sigma_now)).flatten()[0])
    ahead = estimate if not last else estimate + length / (2 * last) * (estimate - before)
    ratio = sigma / sigma_now
    return (ratio * now + (signal - ratio * signal_now) * ahead).to(now), length


def solved_along(
    base: Base, predict: Predict, clean: Tensor, times: Tensor, *, iterations: int = ITERATIONS
) -> list[Tensor]:
    """Latents [n, C, h, w] before each step and after the last, from which the sampler itself reaches the clean ones.

    The steps are those of DDIM, or of Euler along a flow. From the last to the first, each step's equation
    x_{k+1} = f(x_k) is solved for x_k by fixed-point iteration with Anderson's acceleration (arXiv:2309.04907), where
    `inverted_along` takes the prediction of another step. A step ends at an error of SOLVED; the iterate with the least
    error is taken. Where one is above UNSOLVED after all iterations, a warning states it: no latents may lead to these
    clean ones, which happens under high guidance.

    base: the base
    predict: its prediction, with the guidance of sampling
    clean: latents [n, C, h, w]
    times: [steps], noisiest first
    iterations: largest number of predictions for a step; 0 leaves `inverted_along`'s latents as they are
    """
    if not iterations:
        return inverted_along(base, predict, clean, times)
    way, worst = [clean], (0.0, 0)
    with torch.no_grad():
        for step in reversed(range(len(times))):
            stepped, at = _sampler_step(base, times, step), _at(base, times, step, len(clean))
            one = torch.ones_like(clean[:1])
            slope = float(stepped(one, 0 * one).flatten()[0])

            def sampled(x: Tensor, stepped: Predict = stepped, at: Tensor = at) -> Tensor:
                return stepped(x, predict(x, at))

            now, error = _solved(sampled, way[-1], slope, iterations)
            way.append(now)
            worst = max(worst, (error, step))
    if worst[0] > UNSOLVED:
        warnings.warn(
            f"the exact inversion did not converge: step {worst[1] + 1} of {len(times)} misses the latents that it "
            f"should lead to by {100 * worst[0]:.0f} % of their norm after {iterations} iterations, so the source comes "
            "back with an error; lower the guidance, sample in more steps, or invert by DDIM",
            stacklevel=2,
        )
    return way[::-1]


def _solved(
    function: Callable[[Tensor], Tensor], wanted: Tensor, slope: float, iterations: int
) -> tuple[Tensor, float]:
    """Latents that a function leads to the wanted ones, and the largest error among the rows.

    function: latents [n, C, h, w] -> latents of the same shape
    wanted: [n, C, h, w]
    slope: derivative of the function by latents while the prediction stays
    iterations: largest number of calls
    """
    enough = max(SOLVED, 4 * torch.finfo(wanted.dtype).eps)
    norm = wanted.flatten(1).float().norm(dim=1).clamp_min(1e-12)
    now = best = wanted
    least = torch.full_like(norm, float("inf"))
    iterates: list[Tensor] = []
    changes: list[Tensor] = []
    for _ in range(iterations):
        change = (wanted - function(now)).flatten(1).float() / slope
        error = change.norm(dim=1) * abs(slope) / norm
        better = error < least
        best = torch.where(better.view(-1, 1, 1, 1), now, best)
        least = torch.where(better, error, least)
        if float(least.max()) <= enough:
            break
        iterates, changes = [*iterates, now.flatten(1).float()][-MEMORY:], [*changes, change][-MEMORY:]
        now = _accelerated(iterates, changes).view_as(wanted).to(wanted)
    return best, float(least.max())


def _accelerated(iterates: list[Tensor], changes: list[Tensor]) -> Tensor:
    """[n, D]: the next iterate of Anderson's acceleration of the iteration x + change(x).

    iterates: [n, D] each, the newest last
    changes: [n, D] each
    """
    plain = iterates[-1] + changes[-1]
    if len(iterates) == 1:
        return plain
    moved = torch.stack([b - a for a, b in pairwise(iterates)], -1)  # [n, D, m]
    turned = torch.stack([b - a for a, b in pairwise(changes)], -1)
    gram = turned.transpose(1, 2) @ turned
    size = gram.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-30)
    ridge = 1e-8 * size[:, None, None] * torch.eye(gram.shape[-1], device=gram.device)
    share = torch.linalg.solve(gram + ridge, turned.transpose(1, 2) @ changes[-1][..., None])
    return plain - ((moved + turned) @ share)[..., 0]


INVERSIONS: dict[str, Callable[[Base, Predict, Tensor, Tensor], list[Tensor]]] = {
    "ddim": inverted_along,
    "exact": solved_along,
}
"""Way of inversion -> its function."""


def _sampler_step(base: Base, times: Tensor, step: int) -> Callable[[Tensor, Tensor], Tensor]:
    """Latents before a step and the prediction there -> latents after it, by the base's default sampler where the times
    are its own."""
    scheduler = base.scheduler(steps=len(times))
    if not torch.equal(scheduler.timesteps.to(times), times):
        return lambda now, output: _stepped(base, now, output, times, step)

    def stepped(now: Tensor, output: Tensor) -> Tensor:
        scheduler = base.scheduler(steps=len(times))  # a new one, since samplers count their steps
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(step)
        noises = [torch.Generator() for _ in now]
        return base.stepped(scheduler, output, scheduler.timesteps[step], now, noises)

    return stepped


def _levels(base: Base, time: Tensor) -> tuple[Tensor, Tensor]:
    """[n, 1, 1, 1] twice: the factors of the clean latents and of the noise at a time."""
    one = torch.ones(len(time), 1, 1, 1, device=base.device)
    return base.noised(one, 0 * one, time), base.noised(0 * one, one, time)


def sampled_along(base: Base, predict: Predict, start: Tensor, times: Tensor, *, begin: int = 0) -> list[Tensor]:
    """Latents [n, C, h, w] before each step and after the last, sampled without noise (DDIM, or Euler along a flow).

    base: the base
    predict: its prediction, with guidance
    start: latents [n, C, h, w] before step number `begin`, and before every earlier one
    times: [steps], noisiest first
    begin: number of the first step
    """
    way = [start] * (begin + 1)
    with torch.no_grad():
        for step in range(begin, len(times)):
            at = _at(base, times, step, len(start))
            way.append(_stepped(base, way[-1], predict(way[-1], at), times, step))
    return way


class NullText(NamedTuple):
    """The result of null-text inversion."""

    negatives: Tensor  # [steps, n, L, D]: hidden states that the negative branch reads in each step
    latents: list[Tensor]  # the way of guided sampling with them: before each step and after the last


def null_text_inverted(
    base: Base,
    text: Predict,
    negative: Callable[[Tensor, Tensor, Tensor], Tensor],
    way: Sequence[Tensor],
    against: Tensor,
    times: Tensor,
    *,
    guidance: float,
    rounds: int = 10,
    lr: float = 1e-2,
) -> NullText:
    """Null-text inversion (arXiv:2211.09794): for each step, hidden states of the negative branch with which guided
    sampling follows a way that was inverted without guidance.

    Each step's states start from the step before. Its optimisation ends early at TOLERANCE.

    base: the base
    text: its prediction for the prompt
    negative: its prediction for hidden states [n, L, D], the third argument
    way: latents [n, C, h, w] before each step and after the last, noisiest first
    against: hidden states [n, L, D] to start from
    times: [steps], noisiest first
    guidance: guidance scale of sampling
    rounds: updates for each step
    lr: learning rate, which falls by half over the steps
    """
    count, now, states, negatives, passed = len(times), way[0], against, [], [way[0]]
    for step in range(count):
        at = _at(base, times, step, len(now))
        states = states.detach().clone().float().requires_grad_()
        learner = torch.optim.Adam([states], lr=lr * (1 - step / (2 * count)))
        with torch.no_grad():
            towards = text(now, at)

        def reached(states: Tensor, now: Tensor = now, at: Tensor = at, to: Tensor = towards, k: int = step) -> Tensor:
            away = negative(now, at, states.to(against))
            return _stepped(base, now, away + guidance * (to - away), times, k)

        for _ in range(rounds):
            with torch.enable_grad():
                error = (reached(states) - way[step + 1]).float().square().mean((1, 2, 3))
                if float(error.detach().max()) < TOLERANCE[0] + TOLERANCE[1] * 50 * step / count:
                    break
                (states.grad,) = torch.autograd.grad(error.sum(), [states])
            learner.step()
        states = states.detach()
        with torch.no_grad():
            now = reached(states)
        negatives.append(states.to(against))
        passed.append(now)
    return NullText(torch.stack(negatives), passed)


def _stepped(base: Base, now: Tensor, output: Tensor, times: Tensor, step: int) -> Tensor:
    """The latents after a step without noise (DDIM with eta 0, Eq. 12 of arXiv:2010.02502, or Euler along a flow)."""
    at = _at(base, times, step, len(now))
    clean, noise = base.x0(now, output, at), base.noise_of(now, output, at)
    return clean if step + 1 == len(times) else base.noised(clean, noise, _at(base, times, step + 1, len(now)))


def _at(base: Base, times: Tensor, step: int, rows: int) -> Tensor:
    """[rows]: the time of a step."""
    return times[step].to(base.device).expand(rows)
