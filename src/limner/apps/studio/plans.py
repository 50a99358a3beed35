"""The plan of a training for its page: method, time, memory and a form of all settings, without torch."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from fastapi import Request
from starlette.datastructures import FormData

from limner.core.method import settings
from limner.errors import LimnerError, UnknownName
from limner.methods import card, find, methods
from limner.workflows.choose_method import measured
from limner.workflows.form import Field, fields_of
from limner.workflows.quick_estimate import quick_estimate

from .view import settings_of


def base_of(request: Request) -> str:
    """Name of the base that the studio teaches on."""
    return str(request.app.state.services.config.base.name or "pocket")


def known_method(name: str) -> str:
    """The name itself. Raises `UnknownName` unless it is one of limner's methods: a client never names code to run."""
    if name and name not in methods():
        raise UnknownName("method", name[:100], methods())
    return name


@functools.cache
def method_choices(kind: str, base: str) -> tuple[dict[str, Any], ...]:
    """The methods for a kind of subject, those that were measured first, by their seconds."""
    wanted, results = "object" if kind == "pet" else kind, measured(base)
    scope = {"action": "semantic", "relation": "semantic"}.get(wanted, wanted)
    rows = [
        {"name": name, "title": card(each).title, "seconds": results.get(name, {}).get("seconds")}
        for name, each in methods().items()
        if scope in card(each).scope
    ]
    return tuple(sorted(rows, key=lambda row: (row["seconds"] is None, row["seconds"] or 0, row["title"])))


def plan(
    goal: str, kind: str, base: str, *, method: str = "", given: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Method, cost and settings of a training that has not begun."""
    estimate = quick_estimate(goal, kind, base, method=known_method(method), given=given)
    row = measured(base).get(estimate.method, {})
    return {
        "method": estimate.method,
        "title": card(find(estimate.method)).title,
        "why": f"{estimate.why[:1].upper()}{estimate.why[1:]}.",
        "seconds": estimate.seconds,
        "between": estimate.between,
        "memory": estimate.memory_bytes,
        "basis": estimate.basis,
        "h": row.get("H"),
        "fields": [field_view(each, base, (given or {}).get(each.name)) for each in fields_of(estimate.method)],
    }


def default_of(field: Field, base: str) -> Any:
    return field.default if measured(base) else field.full_size_default


def field_view(field: Field, base: str, value: Any = None) -> dict[str, Any]:
    """A setting as the form draws it."""
    number = field.type in ("int", "float")
    return {
        "name": field.name,
        "type": field.type,
        "help": field.help,
        "value": default_of(field, base) if value is None else value,
        "choices": field.choices,
        "options": [(each, each) for each in field.choices],
        "input": "number" if number else "text",
        "step": {"int": "1", "float": "any"}.get(field.type, ""),
        "min": "" if field.least is None else field.least,
        "max": "" if field.greatest is None else field.greatest,
    }


def changed_settings(form: FormData, method: str, base: str) -> dict[str, Any]:
    """The settings of a form that differ from the method's own. Raises `InputError`."""
    kinds = {each.name: each.type for each in settings(find(method))}
    usual = {each.name: (kinds[each.name], default_of(each, base)) for each in fields_of(method)}
    return settings_of(form, "set.", usual)


def clone_settings(payload: Mapping[str, Any], base: str, kind: str) -> dict[str, Any]:
    """The plan of a job that is done again: its own method and settings. An old one may name a setting that is gone."""
    try:
        return plan(
            payload.get("goal", "balanced"), kind, base, method=payload.get("method", ""), given=payload.get("settings")
        )
    except LimnerError:
        return plan("balanced", kind, base)
