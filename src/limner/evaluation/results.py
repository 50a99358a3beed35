"""The results file of a bench."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from limner.errors import FileError


def read_results(path: Path) -> dict[str, Any]:
    """A results file. Raises `FileError` for one that is damaged or of another version."""
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
    return record


PARTS = ("about", "plan", "set", "versions", "seconds", "summary", "correlations", "units")
"""Fields of a results file beside its format."""


FORMAT = 2  # format of results files
