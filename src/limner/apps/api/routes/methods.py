"""/api/methods, /api/bench, /api/hardware: the methods with their settings, their measured results, and this machine."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from fastapi import APIRouter, Query

from limner.workflows.form import fields_of, methods_table
from limner.workflows.quick_estimate import quick_estimate

from ..fields import Record
from ..hardware import hardware
from .common import Me, Work

router = APIRouter(prefix="/api", tags=["methods"])


@router.get("/methods")
def list_methods(work: Work, me: Me) -> Record:
    """Every method with its paper, framework, scope and measured results."""
    return {"methods": methods_table(work.config.base.name)}


@router.get("/methods/{name}")
def show_method(name: str, work: Work, me: Me) -> Record:
    """A method and the fields of the form of its settings."""
    fields = _fields(name)
    row = next(row for row in methods_table(work.config.base.name) if row["name"] == name)
    return {**row, "form": fields}


def _fields(name: str) -> list[Record]:
    from limner.errors import UnknownName
    from limner.methods import methods

    # a client names limner's own methods alone; a name such as FILE.py:function would run a file
    if name not in methods():
        raise UnknownName("method", name[:100], methods())
    return [dataclasses.asdict(field) for field in fields_of(name)]


@router.get("/estimate")
def estimate(
    work: Work,
    me: Me,
    goal: str = "balanced",
    kind: str = "object",
    method: str = "",
    pictures: Annotated[int, Query(ge=1, le=1000)] = 4,
) -> Record:
    """The method that a goal leads to, and the time and memory that it is expected to take."""
    if method:
        _fields(method)
    more: dict[str, Any] = {"base": work.config.base.name, "method": method, "pictures": pictures}
    return dataclasses.asdict(quick_estimate(goal, kind, **more))


@router.get("/bench")
def show_bench(work: Work, me: Me) -> Record:
    """Measured results of methods on the base: scores, seconds, bytes."""
    rows = [{"name": row["name"], "title": row["title"], **row["measured"]} for row in methods_table(work.config.base.name)]
    measured = [row for row in rows if len(row) > 2]
    return {"base": work.config.base.name, "results": sorted(measured, key=lambda row: -float(row.get("H", 0)))}


@router.get("/hardware")
def show_hardware(work: Work, me: Me) -> Record:
    """Use of processor, memory, disk and GPUs of the server's machine."""
    return hardware(work.config.data)
