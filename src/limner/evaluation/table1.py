"""The suite table1: the rows of the survey's Table 1 measured under one protocol, put together from two benches.

The results file holds our numbers alone. The published ones stay in `limner.evaluation.survey` and are only compared by
rank: bases, subjects and encoders differ, so that no difference of two values means anything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from limner.errors import FileError

from .results import FORMAT as PART_FORMAT
from .results import PARTS, folded, unfolded
from .summary import spearman
from .survey import Published, rows_of

FORMAT = 2
"""Version of results files of this suite."""
SUITE = "table1"
TASKS = ("object", "face")
LIKENESS = {"object": "clip_i", "face": "face_identity"}
"""Task -> the metric in the place of the table's image score: CLIP-I of objects, similarity of faces."""
LIKENESS_HEADS = {"object": "CLIP-I", "face": "face similarity"}
COLUMNS = ("clip_t", "likeness", "F", "T", "H", "copy_index")
"""Numbers of a row, each a mean over subjects; `likeness` stands for the task's image score."""
COSTS = ("seconds", "seconds_per_picture", "bytes", "pretraining_steps")
PUBLISHED = ("clip_t", "likeness")
LEFT_OUT = "left out of this run"

Row: TypeAlias = dict[str, Any]


def put_together(parts: Mapping[str, Mapping[str, Any]], missing: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """The results file of the suite as it is written.

    parts: task -> the results of its bench (`limner.evaluation.results`); a task may be left out
    missing: task -> method -> why it has no numbers
    """
    rows = {task: measured_rows(task, parts.get(task, {}), missing.get(task, {})) for task in TASKS}
    return {
        "format": FORMAT,
        "suite": SUITE,
        "rows": rows,
        "correlations": {task: correlations(task, rows[task]) for task in TASKS},
        "missing": {task: dict(missing.get(task, {})) for task in TASKS},
        "parts": {task: folded(part) for task, part in parts.items()},
    }


def measured_rows(task: str, part: Mapping[str, Any], missing: Mapping[str, str]) -> list[Row]:
    """Our numbers for each row of the table, in its order; a row without any says why. Two rows of one method that the
    table has on two bases share the numbers of the one base of the bench.

    task: "object" or "face"
    part: the results of the task's bench, or an empty mapping
    missing: method -> why it has no numbers
    """
    summary = part.get("summary", {})
    rows: list[Row] = []
    for published in rows_of(task):
        label = next((name for name, own in summary.items() if own["method"] == published.method), "")
        row: Row = {"row": published.label, "method": published.method, "concept": label}
        if label:
            row |= _numbers(task, summary[label])
        else:
            row["why"] = missing.get(published.method, LEFT_OUT)
        rows.append(row)
    return rows


def _numbers(task: str, own: Mapping[str, Any]) -> Row:
    """Means and costs of one method's line in a bench's summary."""
    names = {column: LIKENESS[task] if column == "likeness" else column for column in COLUMNS}
    numbers = {column: own["numbers"][name]["mean"] for column, name in names.items() if name in own["numbers"]}
    return {"numbers": numbers, "cost": {name: own["cost"].get(name, 0.0) for name in COSTS}}


def correlations(task: str, rows: Sequence[Row]) -> list[Row]:
    """Spearman's rank correlation of each of our columns with each of the two published ones, over the rows that have
    both; `value` is None for fewer than three rows, or where one side does not vary.

    task: "object" or "face"
    rows: those of `measured_rows`
    """
    known = {row.label: row for row in rows_of(task)}
    table: list[Row] = []
    for column in COLUMNS:
        for name in PUBLISHED:
            pairs = [
                (float(row["numbers"][column]), float(getattr(known[row["row"]], name)))
                for row in rows
                if column in row.get("numbers", {})
            ]
            value = spearman(pairs)
            rounded = None if value is None else round(value, 4)
            table.append({"ours": column, "published": name, "rows": len(pairs), "value": rounded})
    return table


def places(task: str, rows: Sequence[Row], column: str) -> dict[str, tuple[int, int]]:
    """Row -> its place (1 is the highest number) among the measured rows: as published, and here.

    task: "object" or "face"
    rows: those of `measured_rows`
    column: "clip_t" or "likeness"
    """
    known = {row.label: row for row in rows_of(task)}
    here = {row["row"]: float(row["numbers"][column]) for row in rows if column in row.get("numbers", {})}
    there = {name: float(getattr(known[name], column)) for name in here}
    return {name: (_place(there, name), _place(here, name)) for name in here}


def _place(values: Mapping[str, float], name: str) -> int:
    return 1 + sum(value > values[name] for value in values.values())


def about_missing(rows: Sequence[Row]) -> dict[str, str]:
    """Row -> why it has no numbers."""
    return {row["row"]: row["why"] for row in rows if "why" in row}


def by_label(task: str) -> dict[str, Published]:
    """Label -> published row of a task."""
    return {row.label: row for row in rows_of(task)}


def suite_of(path: Path) -> str:
    """The suite that a results file is of; empty for a plain bench's and for a file that cannot be read."""
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return ""
    return str(content.get("suite", "")) if isinstance(content, dict) else ""


def read_table1(path: Path) -> dict[str, Any]:
    """The results file of the suite. Raises `FileError` for one that is damaged, of another version or another
    suite."""
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FileError(f"{path} is no results file that can be read: {error}") from error
    again = "run `limner bench --suite table1` again"
    if not isinstance(content, dict) or content.get("suite") != SUITE or content.get("format") != FORMAT:
        raise FileError(f"{path} is no results file of the suite {SUITE} in format {FORMAT}: {again}")
    if not all(isinstance(content.get(name), dict) for name in ("rows", "correlations", "missing", "parts")):
        raise FileError(f"{path} is damaged, it lacks rows, correlations, missing or parts: {again}")
    for task, part in content["parts"].items():
        if not isinstance(part, dict) or part.get("format") != PART_FORMAT or any(name not in part for name in PARTS):
            raise FileError(f"{path} is damaged, its part {task!r} is no results of a bench: {again}")
    return {**content, "parts": {task: unfolded(part) for task, part in content["parts"].items()}}
