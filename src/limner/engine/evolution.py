"""Training without gradients: an evolution strategy in place of an optimiser."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from limner.core.recipe import Stage
from limner.core.types import Streams
from limner.errors import InputError, TeachingError

from .attach import AdaptedBase
from .checkpoint_checks import EVOLUTION, check_search

if TYPE_CHECKING:
    from torch import Tensor

MOST = 1024  # largest number of values to search over: their full covariance matrix is stored


@dataclass
class Strategy:
    """CMA-ES (Hansen, arXiv:1604.00772): the mean, step size, covariance and evolution paths in d dimensions.

    Constants are the tutorial's defaults; `ask` draws a population, `tell` moves towards its better half.
    """

    mean: Tensor  # [d]
    sigma: Tensor  # scalar
    covariance: Tensor  # [d, d]
    path: Tensor  # [d]: evolution path of the covariance
    steps: Tensor  # [d]: evolution path of the step size
    count: Tensor  # scalar: generations so far

    @classmethod
    def begin(cls, mean: Tensor, sigma: float) -> Strategy:
        d = len(mean)
        zeros = torch.zeros(d, dtype=torch.float64)
        one = torch.eye(d, dtype=torch.float64)
        step = torch.tensor(sigma, dtype=torch.float64)
        return cls(mean.double().cpu(), step, one, zeros, zeros.clone(), torch.zeros((), dtype=torch.float64))

    def ask(self, population: int, generator: torch.Generator) -> Tensor:
        """Draw a population [population, d]."""
        values, axes = torch.linalg.eigh(self.covariance)
        drawn = torch.randn(population, len(self.mean), generator=generator, dtype=torch.float64)
        return self.mean + self.sigma * (drawn * values.clamp_min(1e-20).sqrt()) @ axes.T

    def tell(self, asked: Tensor, losses: Sequence[float]) -> None:
        """Update the state from a population and its losses: Eq. 5 to 58 of the tutorial, without the active update."""
        d, half = len(self.mean), len(losses) // 2
        weights = math.log(half + 0.5) - torch.arange(1, half + 1, dtype=torch.float64).log()
        weights = weights / weights.sum()
        mass = float(1 / weights.square().sum())
        c_sigma = (mass + 2) / (d + mass + 5)
        damping = 1 + 2 * max(0.0, math.sqrt((mass - 1) / (d + 1)) - 1) + c_sigma
        c_path = (4 + mass / d) / (d + 4 + 2 * mass / d)
        c_one = 2 / ((d + 1.3) ** 2 + mass)
        c_mu = min(1 - c_one, 2 * (mass - 2 + 1 / mass) / ((d + 2) ** 2 + mass))
        expected = math.sqrt(d) * (1 - 1 / (4 * d) + 1 / (21 * d * d))

        best = asked[torch.tensor(sorted(range(len(losses)), key=losses.__getitem__)[:half])]
        moves = (best - self.mean) / self.sigma
        move = weights @ moves
        values, axes = torch.linalg.eigh(self.covariance)
        whitened = axes @ ((axes.T @ move) / values.clamp_min(1e-20).sqrt())
        self.count = self.count + 1
        self.mean = self.mean + self.sigma * move
        self.steps = (1 - c_sigma) * self.steps + math.sqrt(c_sigma * (2 - c_sigma) * mass) * whitened
        length = float(self.steps.norm())
        fading = math.sqrt(1 - (1 - c_sigma) ** (2 * float(self.count)))
        slow = length / fading < (1.4 + 2 / (d + 1)) * expected
        self.path = (1 - c_path) * self.path + slow * math.sqrt(c_path * (2 - c_path) * mass) * move
        lost = 0.0 if slow else c_path * (2 - c_path)
        self.covariance = (
            (1 - c_one - c_mu + c_one * lost) * self.covariance
            + c_one * torch.outer(self.path, self.path)
            + c_mu * (moves.T * weights) @ moves
        )
        self.covariance = (self.covariance + self.covariance.T) / 2
        self.sigma = self.sigma * math.exp(min(1.0, c_sigma / damping * (length / expected - 1)))


def summed(terms: Iterable[tuple[str, Tensor]]) -> dict[str, float]:
    """Name -> sum of the terms with that name."""
    sums: dict[str, float] = {}
    for name, value in terms:
        sums[name] = sums.get(name, 0.0) + float(value.detach())
    return sums


class Searcher:
    """The parameters of a stage that is trained by an evolution strategy: each update is one generation, whose
    candidates are all evaluated on the same batch, noise and times. No gradient is computed."""

    def __init__(
        self, stage: Stage, adapted: AdaptedBase, parameters: Mapping[str, Tensor], moments: Mapping[str, Tensor]
    ) -> None:
        assert stage.search is not None
        self.search, self.adapted, self.parameters = stage.search, adapted, adapted.in_single(parameters)
        adapted.text_learns(True)
        flat = torch.cat([tensor.detach().float().flatten().cpu() for tensor in self.parameters.values()])
        if len(flat) > MOST:
            raise InputError(f"{len(flat)} values are too many to train without gradients; expected at most {MOST}")
        if self.search.population < 4:
            raise InputError(f"the population must be at least 4, not {self.search.population}")
        state = {name.removeprefix(KEPT): value for name, value in moments.items() if name.startswith(KEPT)}
        self.strategy = Strategy.begin(flat, self.search.sigma)
        if state:
            check_search(state, vars(self.strategy))
            self.strategy = Strategy(**state)

    def update(self, step: int, terms: Callable[[], Sequence[tuple[str, Tensor]]], random: Streams) -> dict[str, float]:
        """One generation. Returns the losses of its best candidate and leaves the mean in the parameters."""
        asked = self.strategy.ask(self.search.population, random("population"))
        candidate_losses = []
        with torch.no_grad():
            for candidate in asked:
                self._assign(candidate)
                candidate_losses.append(summed(terms()))
            totals = [sum(losses.values()) for losses in candidate_losses]
            if not all(map(math.isfinite, totals)):
                self._assign(self.strategy.mean)
                raise TeachingError(f"at step {step} a candidate's loss is not finite: {totals}; try a smaller sigma")
            self.strategy.tell(asked, totals)
            self._assign(self.strategy.mean)
        return candidate_losses[totals.index(min(totals))]

    def _assign(self, flat: Tensor) -> None:
        sizes = [tensor.numel() for tensor in self.parameters.values()]
        with torch.no_grad():
            for tensor, part in zip(self.parameters.values(), flat.split(sizes), strict=True):
                tensor.copy_(part.view_as(tensor))
        self.adapted.round_off(self.parameters)

    def moments(self) -> dict[str, Tensor]:
        return {f"{KEPT}{name}": value.clone() for name, value in vars(self.strategy).items()}

    def settle(self) -> None:
        """Does nothing: the parameters have the mean already."""


KEPT = EVOLUTION
