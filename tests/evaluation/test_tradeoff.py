"""The anchored trade-off tells eight policies apart, and the two that learned nothing score nothing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from limner.errors import InputError
from limner.evaluation.metrics.copying import copy_index
from limner.evaluation.metrics.distribution import diversity, prompt_sensitivity
from limner.evaluation.tradeoff import TradeOff, ceiling, front, interval, paired, pareto_area, tradeoff

SUBJECTS, PROMPTS, SEEDS, REFERENCES, DIM = 12, 10, 4, 5, 128
# Policy -> weights of the subject, the prompt, the background, noise and the class in its features.
POLICIES = {
    "base": (0.0, 0.8, 0.0, 0.35, 1.0),
    "good": (0.7, 0.7, 0.0, 0.35, 1.0),
    "mild overfit": (0.8, 0.3, 0.4, 0.35, 1.0),
    "overfit": (0.8, 0.05, 0.6, 0.35, 1.0),
    "underfit": (0.15, 0.8, 0.0, 0.35, 1.0),
    "noise": (0.0, 0.05, 0.0, 1.2, 0.3),
}


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def signs() -> dict[str, dict[str, float]]:
    """The mean signs of every policy over simulated subjects: unit vectors of class, subject, prompt and background."""
    rng = np.random.default_rng(0)

    def rand(*shape: int) -> np.ndarray:
        return unit(rng.standard_normal((*shape, DIM)))

    kind = rand()
    found: dict[Any, Any] = {}
    for _ in range(SUBJECTS):
        who, said, places = rand(), rand(PROMPTS), rand(REFERENCES)
        real = unit(kind + 0.8 * who + 0.6 * places + 0.35 * rand(REFERENCES))
        held, learned, texts = real[:2], real[2:], unit(kind + 0.8 * said)

        def paint(
            a: float,
            b: float,
            c: float,
            noise: float,
            k: float,
            *,
            who: Any = who,
            said: Any = said,
            places: Any = places,
        ) -> np.ndarray:
            taken = places[2:][rng.integers(3, size=(PROMPTS, SEEDS))]
            return unit(k * kind + a * who + b * said[:, None] + c * taken + noise * rand(PROMPTS, SEEDS))

        sets = {name: paint(*parts) for name, parts in POLICIES.items()}
        sets["one picture"] = np.broadcast_to(unit(kind + 0.1 * who + 0.8 * rand()), (PROMPTS, SEEDS, DIM))
        sets["copier"] = learned[rng.integers(3, size=(PROMPTS, SEEDS))]
        base = paint(*POLICIES["base"])
        for name, pictures in sets.items():
            for sign, value in measured(pictures, base, held, learned, texts).items():
                found.setdefault(name, {}).setdefault(sign, []).append(value)
    return {name: {sign: float(np.mean(v)) for sign, v in row.items()} for name, row in found.items()}


def measured(
    pictures: np.ndarray, base: np.ndarray, held: np.ndarray, learned: np.ndarray, texts: np.ndarray
) -> dict[str, float]:
    x, b, h, r, t = (torch.from_numpy(np.ascontiguousarray(v)).float() for v in (pictures, base, held, learned, texts))
    flat, plain = x.flatten(0, 1), b.flatten(0, 1)
    groups = torch.arange(PROMPTS).repeat_interleave(SEEDS)
    found = tradeoff(
        fidelity=(flat @ h.T).mean(-1),
        base_fidelity=(plain @ h.T).mean(-1),
        ceiling=ceiling(r, h),
        alignment=(flat * t[groups]).sum(-1),
        base_alignment=(plain * t[groups]).sum(-1),
        copier_alignment=(r @ t.T).mean(0),
        groups=groups,
    )
    return {
        "F": found.fidelity,
        "T": found.alignment,
        "H": found.harmonic,
        "J": found.both,
        "eta": float(prompt_sensitivity(flat, groups)),
        "variety": float(diversity(flat, groups) / diversity(plain, groups)),
        "copy": float(copy_index(flat, r, h).mean()),
    }


def test_policies_that_learned_nothing_score_nothing(signs: dict[str, dict[str, float]]) -> None:
    assert signs["base"]["H"] < 0.06
    assert signs["copier"]["H"] < 0.06
    assert signs["copier"]["F"] > 0.9  # and yet it looks right


def test_good_scores_high_and_best(signs: dict[str, dict[str, float]]) -> None:
    assert signs["good"]["H"] > 0.7
    assert signs["good"]["J"] > 0.9
    assert all(row["H"] < signs["good"]["H"] - 0.2 for name, row in signs.items() if name != "good")


def test_all_eight_are_told_apart(signs: dict[str, dict[str, float]]) -> None:
    assert len(signs) == 8
    names = list(signs)
    for k, first in enumerate(names):
        for second in names[:k]:
            gap = max(abs(signs[first][s] - signs[second][s]) for s in signs[first])
            assert gap > 0.1, f"{first} and {second} look alike"


def test_diversity_alone_would_call_the_copier_various(signs: dict[str, dict[str, float]]) -> None:
    assert signs["copier"]["variety"] > signs["good"]["variety"]
    assert signs["copier"]["copy"] > 0.9
    assert signs["copier"]["eta"] < 0.1


def test_a_prompt_that_is_true_of_the_references_is_dropped_and_named() -> None:
    groups = torch.tensor([0, 0, 1, 1])
    found = tradeoff(
        fidelity=torch.tensor([0.8, 0.8, 0.8, 0.8]),
        base_fidelity=torch.tensor([0.4]),
        ceiling=0.9,
        alignment=torch.tensor([0.5, 0.5, 0.9, 0.9]),
        base_alignment=torch.tensor([0.8, 0.8, 0.9, 0.9]),
        copier_alignment=torch.tensor([0.2, 0.9]),
        groups=groups,
    )
    assert found.dropped == (1,)
    assert found.alignment == pytest.approx(0.5)
    assert found.fidelity == pytest.approx(0.8)
    assert math.isnan(found.each_alignment[2])


def test_senseless_anchors_are_errors() -> None:
    one = torch.tensor([0.5])
    common = {
        "alignment": one,
        "base_alignment": one,
        "copier_alignment": torch.tensor([0.1]),
        "groups": torch.tensor([0]),
    }
    with pytest.raises(InputError, match="cannot tell the subject"):
        tradeoff(fidelity=one, base_fidelity=one, ceiling=0.5, **common)
    with pytest.raises(InputError, match="not numbers"):
        tradeoff(fidelity=torch.tensor([float("nan")]), base_fidelity=one, ceiling=0.9, **common)
    with pytest.raises(InputError, match="one reference"):
        ceiling(torch.ones(1, 4), torch.ones(0, 4))


def test_the_ceiling_leaves_out_copies_of_one_picture() -> None:
    first = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    assert ceiling(first, torch.tensor([[1.0, 0.0]])) == pytest.approx(0.6)


def test_harmonic_and_balance() -> None:
    assert TradeOff(0.5, 1.0, 0).harmonic == pytest.approx(2 / 3)
    assert TradeOff(-1.0, 1.0, 0).harmonic == 0
    assert TradeOff(2.0, 0.0, 0).balance == 1
    assert TradeOff(0.0, 0.7, 0).balance == -1


def test_pareto_area_and_front() -> None:
    assert pareto_area([(1.0, 1.0)]) == 1.0
    assert pareto_area([(1.0, 0.5), (0.5, 1.0)]) == pytest.approx(0.75)
    assert pareto_area([(1.0, 0.5), (0.4, 0.4)]) == pytest.approx(0.5)
    assert front({"a": (1.0, 0.5), "b": (0.5, 1.0), "c": (0.4, 0.4)}) == ["a", "b"]


def test_intervals_hold_the_mean_and_shrink_with_subjects() -> None:
    rng = np.random.default_rng(1)
    few, many = (interval(rng.normal(0.5, 0.1, n).tolist()) for n in (5, 200))
    assert few.low <= few.mean <= few.high
    assert many.high - many.low < few.high - few.low
    assert paired({"a": 1.0, "b": 2.0}, {"a": 0.5, "b": 1.5, "c": 9.0}).mean == pytest.approx(0.5)
    with pytest.raises(InputError, match="no subject in common"):
        paired({"a": 1.0}, {"b": 1.0})
