"""The results file of a bench."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from limner.errors import FileError


def read_results(path: Path) -> dict[str, Any]:
    """A results file, every unit whole. Raises `FileError` for one that is damaged or of another version."""
    try:
        record: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FileError(f"{path} is no results file that can be read: {error}") from error
    if not isinstance(record, dict):
        raise FileError(f"{path} is no results file: expected a table, found a {type(record).__name__}")
    if record.get("format") != FORMAT:
        raise FileError(
            f"{path} has format {record.get('format')}, this is limner's {FORMAT}: run `limner bench` again"
        )
    absent = [name for name in PARTS if name not in record]
    if absent or not isinstance(record["units"], list):
        raise FileError(
            f"{path} is damaged, it has no {', '.join(absent) or 'list of units'}: run `limner bench` again"
        )
    return unfolded(record)


def folded(record: Mapping[str, Any]) -> dict[str, Any]:
    """A results file as it is written: what all units say alike of a metric (its encoder, preprocessing, text) is there
    once, under "metrics", so that the file takes less than half."""
    units = record["units"]
    names = dict.fromkeys(name for unit in units for name in unit.get("metrics", {}))
    shared = {name: _shared([u.get("metrics", {}).get(name) for u in units]) for name in names}
    return {**record, "metrics": shared, "units": [_without(unit, shared) for unit in units]}


def unfolded(record: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `folded`."""
    shared = record["metrics"]
    unmeasured: dict[str, Any] = {name: {} for name, fields in shared.items() if "value" in fields}
    units = [
        {**unit, "metrics": {name: shared[name] | own for name, own in (unmeasured | unit["metrics"]).items()}}
        if "metrics" in unit
        else unit
        for unit in record["units"]
    ]
    return {**{name: value for name, value in record.items() if name != "metrics"}, "units": units}


def _shared(metrics: list[Mapping[str, Any] | None]) -> dict[str, Any]:
    """Fields that are alike in all units that have the metric; its value, too, where no unit has one."""
    own = [metric for metric in metrics if metric is not None]
    unmeasured = len(own) == len(metrics) and all(metric.get("value", 0) is None for metric in own)
    return {
        field: value
        for field, value in own[0].items()
        if (field not in VALUES or (field == "value" and unmeasured))
        and all(field in other and other[field] == value for other in own)
    }


def _without(unit: Mapping[str, Any], shared: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    if "metrics" not in unit:
        return dict(unit)
    own = {
        name: {field: value for field, value in metric.items() if field not in shared[name]}
        for name, metric in unit["metrics"].items()
    }
    return {**unit, "metrics": {name: metric for name, metric in own.items() if metric or "value" not in shared[name]}}


VALUES = ("value", "each")
"""Fields of a metric that are a unit's own."""
PARTS = ("about", "plan", "set", "versions", "seconds", "summary", "correlations", "metrics", "units")
"""Fields of a results file beside its format."""


FORMAT = 3  # format of results files
