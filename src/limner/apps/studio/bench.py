"""Bench and report: the results files of the benches, as tables with intervals. A bench writes its file as it goes, so
a running one is shown live."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from limner.apps.api.errors import not_found
from limner.errors import FileError
from limner.evaluation.results import read_results
from limner.evaluation.summary import TITLES
from limner.methods import card, methods
from limner.workflows.choose_method import measured

from . import plans
from .view import render

router = APIRouter(include_in_schema=False)
COLUMNS = (("F", "Likeness"), ("T", "Prompt"), ("H", "Both"), ("obeyed", "Prompt accuracy"))
NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")


def folders(request: Request) -> list[Path]:
    """Folders of results files: of the studio's data, and of the folder that the server was started in."""
    return [request.app.state.services.config.data / "results", Path("results"), Path("out/results")]


def files(request: Request) -> dict[str, Path]:
    """Results files of benches by name; damaged ones and other files are left out."""
    records: dict[str, Path] = {}
    for folder in folders(request):
        for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
            if NAME.fullmatch(path.stem) and path.stem not in records and results(path) is not None:
                records[path.stem] = path
    return records


def results(path: Path) -> dict[str, Any] | None:
    status = path.stat()
    return _results(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=16)
def _results(path: Path, changed: int, size: int) -> dict[str, Any] | None:
    """The fields of a results file that pages show, without its pictures' numbers."""
    try:
        record = read_results(path)
    except FileError:
        return None
    names = ("plan", "set", "versions", "seconds", "summary", "correlations")
    return {**{name: record[name] for name in names}, "units": len(record["units"])}


@router.get("/bench")
def show_all(request: Request) -> Response:
    """The results on disk, and each method's scores on the base's own bench."""
    records = {name: results(path) for name, path in files(request).items()}
    base = plans.base_of(request)
    return render(
        request,
        "benches.html",
        title="Bench",
        benches=[(name, about_of(record)) for name, record in records.items() if record],
        rows=method_rows(base),
        base=base,
    )


def about_of(record: dict[str, Any]) -> dict[str, Any]:
    """How far a bench is: done and planned runs, and what it runs on."""
    plan = record["plan"]
    wanted = len(plan["methods"]) * plan.get("cases", 1) * len(plan.get("teaching_seeds", [0]))
    done = sum(row["units"] for row in record["summary"].values())
    return {
        "done": done,
        "wanted": max(wanted, done),
        "is_done": done >= wanted,
        "methods": len(record["summary"]),
        "data": record["set"].get("name", plan.get("data", "")),
        "base": plan.get("base", ""),
        "device": plan.get("device", ""),
        "seconds": record["seconds"],
        "percent": round(100 * done / max(wanted, done, 1), 1),
    }


def method_rows(base: str) -> list[dict[str, Any]]:
    """Each measured method of a base with its scores and cost, the best first."""
    known = methods()
    rows = [
        {
            "name": name,
            "title": card(known[name]).title if name in known else name,
            "scope": ", ".join(card(known[name]).scope) if name in known else "",
            "arxiv": card(known[name]).arxiv if name in known else "",
            **{key: row.get(key) for key in ("H", "F", "T", "seconds", "bytes")},
        }
        for name, row in measured(base).items()
    ]
    return sorted(rows, key=lambda row: -(row["H"] or 0))


@router.get("/bench/{name}")
def show(request: Request, name: str) -> Response:
    return render(request, "bench.html", title=f"Bench: {name}", **_values(request, name))


@router.get("/bench/{name}/table")
def show_table(request: Request, name: str) -> Response:
    """The table alone, for a bench that is running."""
    return render(request, "bench_table.html", **_values(request, name))


def _values(request: Request, name: str) -> dict[str, Any]:
    path = files(request).get(name)
    record = results(path) if path is not None else None
    if record is None:
        raise not_found("bench")
    return {
        "name": name,
        "about": about_of(record),
        "columns": COLUMNS,
        "rows": table_rows(record),
        "correlations": correlation_rows(record),
        "versions": record["versions"],
    }


def table_rows(record: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each method: mean and interval of each number, diagnoses, cost; the best first."""
    rows = []
    for label, row in record["summary"].items():
        numbers = row["numbers"]
        cells = [_interval(numbers.get(name)) for name, _ in COLUMNS]
        diagnoses = sorted(row["diagnoses"].items(), key=lambda item: -item[1])
        mean = (numbers.get("H") or {}).get("mean")
        rows.append({
            "label": TITLES.get(label, label),
            "cells": cells,
            "subjects": max((each["subjects"] for each in numbers.values()), default=0),
            "diagnoses": ", ".join(f"{name} {count}" for name, count in diagnoses),
            "seconds": row["cost"].get("seconds"),
            "bytes": row["cost"].get("bytes"),
            "order": mean if mean is not None else -1.0,
        })  # fmt: skip
    return sorted(rows, key=lambda row: -row["order"])


def _interval(number: dict[str, Any] | None) -> dict[str, Any] | None:
    """Mean, interval, and their places on a line from 0 to 1 that is 100 wide."""
    if number is None or number.get("mean") is None:
        return None
    low, high = (number[end] if number.get(end) is not None else number["mean"] for end in ("low", "high"))
    return {
        "mean": f"{number['mean']:.2f}".replace("-0.00", "0.00"),
        "range": f"{low:.2f} to {high:.2f}".replace("-0.00", "0.00"),
        "width": _place(number["mean"]),
        "low": _place(low),
        "high": _place(high),
    }


def _place(value: float) -> float:
    return round(100 * min(1.0, max(0.0, value)), 1)


def correlation_rows(record: dict[str, Any]) -> list[dict[str, str]]:
    """Rank correlations of each metric with likeness and prompt, the strongest with likeness first."""
    rows = sorted(record["correlations"].items(), key=lambda item: -abs(item[1].get("F") or 0))
    return [
        {"metric": name, **{side: "–" if (v := row.get(side)) is None else f"{v:.2f}" for side in ("F", "T")}}
        for name, row in rows
    ]


@router.get("/report")
def show_report(request: Request) -> Response:
    """One page on the methods for printing: the base's own bench, and every results file in short."""
    base = plans.base_of(request)
    records = {name: results(path) for name, path in files(request).items()}
    tables = [(name, about_of(record), table_rows(record)[:12]) for name, record in records.items() if record]
    return render(
        request, "report.html", title="Report", rows=method_rows(base)[:20], tables=tables, base=base, columns=COLUMNS
    )
