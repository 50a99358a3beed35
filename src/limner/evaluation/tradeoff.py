"""Fidelity against alignment, anchored: what a method gained over not learning at all, and kept of what the base could
do.

Raw similarities cannot be added up: over published tables their harmonic mean follows the text score alone. Here

    F = (f - f_lo) / (f_hi - f_lo)    f_lo: the unpersonalised base's pictures; f_hi: real pictures of the subject among
    themselves T = (a - a_lo) / (a_hi - a_lo)    a_lo: the training pictures shown as the answer; a_hi: the
    unpersonalised base H = 2 F T / (F + T)               F and T cut to [0, 1]

so that the two policies that learned nothing, painting the class and copying a reference, both score 0. The definitions
are ours, of known parts: chance correction, an oracle row, a harmonic mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from limner.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

LEAST_GAP = 0.02
"""Anchors nearer than this say nothing: the prompt is true of the references already."""


@dataclass(frozen=True)
class TradeOff:
    """The anchored trade-off of one subject. `fidelity` and `alignment` are not cut to [0, 1]: fidelity above 1 means
    that the pictures resemble real ones more than these resemble each other."""

    fidelity: float
    alignment: float
    both: float  # J: share of pictures with F and T of a half at least
    dropped: tuple[int, ...] = ()  # prompts whose anchors are too near each other
    each_fidelity: tuple[float, ...] = ()
    each_alignment: tuple[float, ...] = ()

    @property
    def harmonic(self) -> float:
        """H."""
        f, t = min(max(self.fidelity, 0.0), 1.0), min(max(self.alignment, 0.0), 1.0)
        return 2 * f * t / (f + t) if f + t else 0.0

    @property
    def balance(self) -> float:
        """(F - T) / (F + T): towards 1 overfit, towards -1 underfit."""
        f, t = min(max(self.fidelity, 0.0), 1.0), min(max(self.alignment, 0.0), 1.0)
        return (f - t) / (f + t) if f + t else 0.0


def tradeoff(
    *,
    fidelity: Tensor,
    base_fidelity: Tensor,
    ceiling: float,
    alignment: Tensor,
    base_alignment: Tensor,
    copier_alignment: Tensor,
    groups: Tensor,
) -> TradeOff:
    """The anchored trade-off of one subject's pictures.

    `fidelity`, `alignment` [N] of the pictures, `base_*` [M] of the base's for the same prompts; `ceiling` f_hi;
    `copier_alignment` [P] a_lo by prompt; `groups` [N], the same for both sets, says which prompt. Prompts whose
    anchors are less than LEAST_GAP apart are dropped from T and named. Raises `InputError` when nothing is left to
    measure by.
    """
    import torch

    for name, values in (("fidelity", fidelity), ("alignment", alignment), ("the base's", base_alignment)):
        if not bool(torch.isfinite(values).all()):
            raise InputError(f"{name} holds values that are not numbers: look for broken pictures")
    floor = float(base_fidelity.mean())
    if ceiling - floor < LEAST_GAP:
        raise InputError(
            f"real pictures of the subject are no more alike ({ceiling:.3f}) than the base's pictures ({floor:.3f}): "
            "this encoder cannot tell the subject from others of its class"
        )
    gained = (fidelity - floor) / (ceiling - floor)
    anchored_alignment, dropped = torch.full_like(alignment, float("nan")), []
    for prompt in groups.unique().tolist():
        rows = groups == prompt
        high, low = float(base_alignment[rows].mean()), float(copier_alignment[prompt])
        if high - low < LEAST_GAP:
            dropped.append(int(prompt))
        else:
            anchored_alignment[rows] = (alignment[rows] - low) / (high - low)
    there = ~anchored_alignment.isnan()
    if not bool(there.any()):
        raise InputError("no prompt asks for anything that the base can paint and the references do not show already")
    return TradeOff(
        float(gained.mean()),
        float(anchored_alignment[there].mean()),
        float(((gained >= 0.5) & (anchored_alignment >= 0.5))[there].float().mean()),
        tuple(dropped),
        tuple(gained.tolist()),
        tuple(anchored_alignment.tolist()),
    )


def ceiling(training: Tensor, held_out: Tensor, *, same: float = 0.9995) -> float:
    """f_hi: mean cosine of training and held-out references, pairs that are one picture (mirrored, shifted) left out.

    With no held-out references, of the training references to each other. Raises `InputError` for a single picture.
    """
    import torch
    from torch.nn.functional import normalize

    first = normalize(training, dim=-1)
    if len(held_out):
        near = (first @ normalize(held_out, dim=-1).T).flatten()
    else:
        rows, columns = torch.triu_indices(len(first), len(first), 1).tolist()
        near = (first @ first.T)[rows, columns]
    near = near[near < same]
    if not len(near):
        raise InputError("one reference image has no other to be compared with: give two or more, or held-out ones")
    return float(near.mean())


def pareto_area(points: Sequence[tuple[float, float]]) -> float:
    """The area of the unit square below the Pareto front of (T, F) points, each cut to [0, 1]."""
    cut = sorted({(min(max(t, 0.0), 1.0), min(max(f, 0.0), 1.0)) for t, f in points}, reverse=True)
    area, reached = 0.0, 0.0
    for t, f in cut:  # in order of falling T, a point counts where it raises F
        if f > reached:
            area += t * (f - reached)
            reached = f
    return area


def front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """The names that no other beats on both T and F, by falling T."""
    best = [
        n
        for n, (t, f) in points.items()
        if not any((x >= t and y >= f) and (x, y) != (t, f) for x, y in points.values())
    ]
    return sorted(best, key=lambda n: -points[n][0])


@dataclass(frozen=True)
class Interval:
    """A mean and the middle 95 % of what bootstrap samples of the subjects give."""

    mean: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def interval(by_subject: Sequence[float], *, samples: int = 2000, seed: int = 0) -> Interval:
    """Bootstrap over subjects: pictures of one subject depend on each other, subjects do not."""
    import numpy as np

    values = np.asarray([v for v in by_subject if v == v], dtype=float)
    if not len(values):
        raise InputError("there are no values to average")
    rng = np.random.default_rng(seed)
    means = values[rng.integers(len(values), size=(samples, len(values)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high), len(values))


def paired(first: Mapping[str, float], second: Mapping[str, float], *, seed: int = 0) -> Interval:
    """The difference of two methods, first - second, over the subjects that both have."""
    both = sorted(first.keys() & second.keys())
    if not both:
        raise InputError("the two have no subject in common")
    return interval([first[s] - second[s] for s in both], seed=seed)
