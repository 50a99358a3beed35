"""Summarise a benchmark: means with intervals over subjects, differences from the description baseline, and the
metrics' correlations with F and T."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .tradeoff import interval, paired, pareto_area

BASE, WORDS = "base alone", "base told the looks"
POLICIES = (BASE, WORDS)
"""Baselines of every table: painting the class, and painting the subject's looks described in words. Neither learns."""
COPIER, TRUTH = "a copy of the references", "the truth itself"
MARKS = (COPIER, TRUTH)
"""Marks on toys that no method is expected to reach: copies of the reference images, and ground-truth renders."""
TITLES = {
    TRUTH: "ground-truth renders",
    WORDS: "description baseline",
    COPIER: "copies of the reference images",
    BASE: "base alone",
}
"""Name of a baseline or mark in results files and on the command line -> its name in tables."""


def summary(units: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Label -> mean of every number with its interval over subjects, counts of diagnoses, costs, and differences from
    the description baseline.

    A subject's value is the mean over its training seeds; `spread` is the standard deviation over these seeds, where
    there are several.
    """

    table: dict[str, Any] = {}
    by_label: dict[str, list[Mapping[str, Any]]] = {}
    for unit in units:
        by_label.setdefault(unit["label"], []).append(unit)
    reference = {n: _by_subject(by_label.get(WORDS, ()), n) for n in ("F", "H")}
    for label, rows in by_label.items():
        numbers = {}
        for name in _names(rows):
            by_subject = _by_subject(rows, name)
            if by_subject:
                estimate = interval(list(by_subject.values()))
                spread = _over_seeds(rows, name)
                numbers[name] = {
                    "mean": _r(estimate.mean),
                    "low": _r(estimate.low),
                    "high": _r(estimate.high),
                    "subjects": estimate.count,
                }
                if spread is not None:
                    numbers[name]["spread"] = _r(spread)
        against = {}
        for name, values in reference.items():
            mine = _by_subject(rows, name)
            if label != WORDS and values.keys() & mine.keys():
                gap = paired(mine, values)
                against[name] = {
                    "mean": _r(gap.mean),
                    "low": _r(gap.low),
                    "high": _r(gap.high),
                    "subjects": gap.count,
                }
        diagnoses: dict[str, int] = {}
        for row in rows:
            diagnoses[row["diagnosis"]["label"]] = diagnoses.get(row["diagnosis"]["label"], 0) + 1
        points = [(r["tradeoff"]["T"], r["tradeoff"]["F"]) for r in rows if "tradeoff" in r]
        table[label] = {
            "method": rows[0]["method"],
            "scale": rows[0].get("scale", 1.0),
            "lesson": rows[0].get("lesson", label),
            "units": len(rows),
            "numbers": numbers,
            "above words": against,
            "diagnoses": diagnoses,
            "area": _r(pareto_area(points)) if points else None,
            "cost": {k: _r(statistics.median(r["cost"].get(k, 0) for r in rows)) for k in rows[0]["cost"]},
        }
    return table


def correlations(units: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Metric -> its Spearman rank correlation with F and with T, over all pictures."""
    correlations_by_metric: dict[str, dict[str, float]] = {}
    rows = [u for u in units if "each" in u]
    names = sorted({n for u in rows for n, m in u["metrics"].items() if len(m.get("each", ())) == len(u["each"]["F"])})
    for name in names:
        for side in ("F", "T"):
            pairs = [
                (x, y)
                for u in rows
                if len(u["metrics"].get(name, {}).get("each", ())) == len(u["each"][side])
                for x, y in zip(u["metrics"][name]["each"], u["each"][side], strict=True)
                if y is not None
            ]
            value = spearman(pairs)
            if value is not None:
                correlations_by_metric.setdefault(name, {})[side] = _r(value)
    return correlations_by_metric


def spearman(pairs: Iterable[tuple[float, float]]) -> float | None:
    """Spearman's rank correlation, with ties at their mean rank; None for fewer than three pairs or a constant."""
    import numpy as np

    both = np.array(list(pairs), dtype=float)
    if len(both) < 3:
        return None
    ranks: list[Any] = []
    for column in both.T:
        _, inverse, counts = np.unique(column, return_inverse=True, return_counts=True)
        last = np.cumsum(counts)
        ranks.append(((last - counts + last - 1) / 2)[inverse])
    if min(r.std() for r in ranks) < 1e-12:
        return None
    return float(np.corrcoef(ranks)[0, 1])


def _names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    names = ["F", "T", "H", "J", "balance", "obeyed"]
    return [*names, *dict.fromkeys(n for r in rows for n in r["metrics"])]


def _value(row: Mapping[str, Any], name: str) -> float | None:
    if name in ("F", "T", "H", "J", "balance"):
        return row.get("tradeoff", {}).get(name)
    if name == "obeyed":
        return row["truth"].get("obeyed")
    number: float | None = row["metrics"].get(name, {}).get("value")
    return number


def _by_subject(rows: Sequence[Mapping[str, Any]], name: str) -> dict[str, float]:
    values_by_subject: dict[str, list[float]] = {}
    for row in rows:
        value = _value(row, name)
        if value is not None:
            values_by_subject.setdefault(row["case"], []).append(value)
    return {case: statistics.fmean(values) for case, values in values_by_subject.items()}


def _over_seeds(rows: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values_by_seed: dict[int, list[float]] = {}
    for row in rows:
        value = _value(row, name)
        if value is not None:
            values_by_seed.setdefault(row["seed"], []).append(value)
    means = [statistics.fmean(v) for v in values_by_seed.values()]
    return statistics.stdev(means) if len(means) > 1 else None


def _r(value: float) -> float:
    return round(float(value), 4)
