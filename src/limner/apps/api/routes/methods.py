"""/api/methods, /api/protections, /api/bench, /api/hardware: methods with their settings, measured results, this
machine."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from limner.errors import UnknownName
from limner.methods import methods
from limner.workflows.form import fields_of, methods_table, protections_table
from limner.workflows.quick_estimate import quick_estimate

from ..errors import not_found
from ..fields import Fields, Record
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
    if name not in methods():
        raise not_found("method")
    row = next(row for row in methods_table(work.config.base.name) if row["name"] == name)
    return {**row, "form": [dataclasses.asdict(field) for field in fields_of(name)]}


@router.get("/protections")
def list_protections(work: Work, me: Me) -> Record:
    """Every method that protects photographs, with its paper and settings."""
    return {"protections": protections_table()}


class Plan(Fields):
    """A subject's kind, and the goal or the method and its settings to learn it by."""

    goal: str = "balanced"  # fast, balanced or best
    kind: str = "object"
    method: str = ""
    settings: dict[str, bool | int | float | str] = Field(default_factory=dict)
    budget: Annotated[float, Field(gt=0)] | None = None  # seconds


@router.post("/estimate")
def estimate(plan: Plan, work: Work, me: Me) -> Record:
    """The method that a goal leads to, and the time and memory that learning by it is expected to take."""
    # a client names limner's own methods alone; a name such as FILE.py:function would run a file
    if plan.method and plan.method not in methods():
        raise UnknownName("method", plan.method[:100], methods())
    base = work.config.base
    result = quick_estimate(
        plan.goal,
        plan.kind,
        base.name,
        method=plan.method,
        given=plan.settings,
        budget=plan.budget,
        device=base.device,
    )
    return dataclasses.asdict(result)


@router.get("/bench")
def show_bench(work: Work, me: Me) -> Record:
    """Measured results of methods on the base: scores, seconds, bytes."""
    rows = [
        {"name": row["name"], "title": row["title"], **row["measured"]} for row in methods_table(work.config.base.name)
    ]
    measured = [row for row in rows if len(row) > 2]
    return {"base": work.config.base.name, "results": sorted(measured, key=lambda row: -float(row.get("H", 0)))}


@router.get("/hardware")
def show_hardware(work: Work, me: Me) -> Record:
    """Use of processor, memory, disk and GPUs of the server's machine."""
    return hardware(work.config.data)
